#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn execute(_: &Args) -> crate::exit::Ended {
    Ok(crate::exit::Exit::Success)
}
