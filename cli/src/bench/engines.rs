//! `chassis bench engines`: the engines compared.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use chassis_benches::{Group, Measurement, Progress, Report, Row, Settings, measure, measurements, page, time_text};
use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::choice;
use crate::exit::{Ended, Exit, Failure};
use crate::style::{self, FAINT, GOOD, ODD, STRONG};
use crate::values;

const LONG: &str = "\
Compare the engines on this machine.

Every measurement runs the same guest on each engine, in short rounds that take turns, so that what disturbs the machine \
disturbs all alike. A cell of the table has the median, half the distance between the quartiles as a share of it, and \
the ratio to the best engine. `native` is a guest in Rust: what is left is the cost of the host itself. A second table \
has the same by hand, against each engine's own interface without Chassis.

The machine should have nothing else to do.";

const AFTER: &str = "\
Examples:
  chassis bench engines
  chassis bench engines --quick --filter header/
  chassis bench engines --engine wasmtime,wasmi --json
  chassis bench engines --output report.json --html report.html

JSON:
  --json prints { \"schema\": \"chassis/bench-engines/v1\", ... }, and --output writes it to a file.
  machine       processor, threads, kernel, memory, load at the end
  settings      seconds for each measurement, and the least number of rounds
  engines       their names and versions
  measurements  each with its results by subject, in nanoseconds: median, lower_quartile,
                upper_quartile, minimum, samples, ratio (to the best engine), by_hand_ratio,
                or a reason why there are no numbers

Exit codes:
  0  everything was measured, but for what an engine says that it cannot do
  1  an engine failed at something; its cell says why
  2  the command line is wrong, there is no such measurement, or a file cannot be written
  5  the engine was not compiled in";

/// Compare the engines on this machine.
#[derive(clap::Args)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub(crate) struct Args {
    /// The engines: names with commas between them, or `all`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    engine: Vec<String>,
    /// Only measurements whose name, as --list prints it, contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// A first look: a tenth of a second for each measurement.
    #[arg(long, conflicts_with = "time")]
    quick: bool,
    /// Seconds for each measurement, all engines together.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    time: Duration,
    /// List the measurements and end.
    #[arg(long, conflicts_with_all = ["output", "html"])]
    list: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write JSON to a file too.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a page with plots: one file that needs no other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Do not tell on the standard error what is being measured.
    #[arg(long)]
    no_progress: bool,
}

/// `0.5`, or a duration with its unit.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.01..=600.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        Ok(_) => Err("must be 0.01 to 600 seconds".to_owned()),
        Err(_) => values::duration(text),
    }
}

pub(crate) fn execute(args: &Args) -> Ended {
    let chosen = measurements(args.filter.as_deref());
    if chosen.is_empty() {
        let filter = args.filter.as_deref().unwrap_or_default();
        let error = anyhow::anyhow!("no measurement's name contains `{filter}`; --list prints them");
        return Err(Failure::new(Exit::Usage, error));
    }
    if args.list {
        return list(&chosen, args.json);
    }
    let engines: Vec<&str> = choice::engines(&args.engine)?.iter().map(|engine| engine.name).collect();
    for file in args.output.iter().chain(&args.html) {
        writable(file)?;
    }
    if let (Some(output), Some(html)) = (&args.output, &args.html)
        && is_same(output, html)
    {
        let error = anyhow::anyhow!("--output and --html are the same file: {}", output.display());
        return Err(Failure::new(Exit::Usage, error));
    }
    let settings = if args.quick { Settings::quick() } else { Settings::with_time(args.time) };
    let mut teller = Teller::new(args.no_progress, settings.time);
    let subjects = chassis_benches::subjects(&engines);
    let report = measure(&chosen, &subjects, &settings, |progress| teller.tell(&progress));
    teller.end();
    // What was measured is not lost with a file that cannot be written, nor with a reader that has gone.
    let printed = if args.json { style::print_json(&report) } else { style::print(&text(&report)) };
    let json = serde_json::to_string_pretty(&report).map_err(io::Error::from)?;
    let written = args.output.as_ref().map_or(Ok(()), |file| write(file, &format!("{json}\n")));
    let shown = args.html.as_ref().map_or(Ok(()), |file| write(file, &page(&report)));
    written.and(shown)?;
    printed?;
    Ok(if failures(&report) == 0 { Exit::Success } else { Exit::No })
}

/// What cannot be written is better known before the minutes of measuring. What is there already stays until then, and
/// what is not stays away: measuring that is broken off leaves no empty report.
fn writable(file: &Path) -> Result<(), Failure> {
    let tried = || match OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(_) => fs::remove_file(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).create(true).open(file).map(drop)
        }
        Err(error) => Err(error),
    };
    let tried = tried().with_context(|| format!("{} cannot be written", file.display()));
    tried.map_err(|error| Failure::new(Exit::Usage, error))
}

/// Whether two paths that can be written are of one file, by whatever way.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        fs::canonicalize(path).or_else(|_| {
            // It is not there yet, but its folder is.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::canonicalize(folder).map(|folder| folder.join(path.file_name().unwrap_or_default()))
        })
    };
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

fn write(file: &Path, content: &str) -> Result<(), Failure> {
    let written = fs::write(file, content).with_context(|| format!("{} cannot be written", file.display()));
    written.map_err(|error| Failure::new(Exit::Usage, error))
}

/// Cells without numbers, but for those of what an engine says that it cannot do.
fn failures(report: &Report) -> usize {
    let unable = report.measurements.iter().filter(|row| row.id == "module/load");
    let unable = unable.flat_map(|row| &row.results).filter(|cell| {
        let engine = chassis_engines::open(cell.engine, chassis_engine_api::Profile::Deadline);
        cell.reason.is_some() && engine.is_ok_and(|engine| !engine.capabilities().aot.is_some())
    });
    report.failures() - unable.count()
}

fn list(chosen: &[Measurement], json: bool) -> Ended {
    if json {
        let measurements: Vec<_> = chosen
            .iter()
            .map(|m| serde_json::json!({ "id": m.id, "group": m.group.as_str(), "name": m.name, "what": m.what }))
            .collect();
        let list = serde_json::json!({ "schema": "chassis/bench-engines-list/v1", "measurements": measurements });
        style::print_json(&list)?;
        return Ok(Exit::Success);
    }
    let width = chosen.iter().map(|measurement| measurement.id.len()).max().unwrap_or(0);
    let lines = chosen.iter().map(|m| format!("{:width$}  {FAINT}{}{FAINT:#}\n", m.id, m.what));
    style::print(&lines.collect::<String>())?;
    Ok(Exit::Success)
}

/// Tells on the standard error what is being measured: in one line on a terminal, else in one for each group.
struct Teller {
    quiet: bool,
    terminal: bool,
    time: Duration,
    begin: Instant,
    group: Option<Group>,
}

impl Teller {
    fn new(quiet: bool, time: Duration) -> Self {
        let terminal = io::stderr().is_terminal();
        Teller { quiet, terminal, time, begin: Instant::now(), group: None }
    }

    /// A standard error that nobody reads is no reason to end.
    fn tell(&mut self, progress: &Progress<'_>) {
        if self.quiet {
            return;
        }
        let (done, total) = (progress.index, progress.total);
        let mut stderr = anstream::stderr().lock();
        if self.terminal {
            let left = self.left(done, total).as_secs();
            let (minutes, seconds) = (left / 60, left % 60);
            let id = &progress.measurement.id;
            let _ =
                write!(stderr, "\r\x1b[2K{:>3}/{total}  {STRONG}{id}{STRONG:#}  {minutes}:{seconds:02} left", done + 1);
            let _ = stderr.flush();
        } else if self.group != Some(progress.measurement.group) {
            self.group = Some(progress.measurement.group);
            let title = progress.measurement.group.title();
            let _ = writeln!(stderr, "measuring {}/{total}: {title}", done + 1);
        }
    }

    /// By what has been so far; at first by the time that was asked for.
    fn left(&self, done: usize, total: usize) -> Duration {
        let each = match u32::try_from(done) {
            Ok(done) if done > 3 => self.begin.elapsed() / done,
            _ => self.time + self.time / 4,
        };
        each * u32::try_from(total - done).unwrap_or(u32::MAX)
    }

    fn end(&self) {
        if !self.quiet && self.terminal {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// The whole result for people.
fn text(report: &Report) -> String {
    let engines = report.engines.iter().map(|engine| format!("{} {}", engine.name, engine.version.unwrap_or("?")));
    let mut out = format!("{}\n{}\n", engines.collect::<Vec<_>>().join(", "), report.machine.line());
    if report.build != "release" {
        out.push_str(&format!("{ODD}this build is not optimised: the numbers say little{ODD:#}\n"));
    }
    for group in Group::ALL {
        let rows: Vec<&Row> = report.group(group).collect();
        if !rows.is_empty() {
            out.push_str(&format!("\n{STRONG}{}{STRONG:#}\n{}\n", group.title(), compared(report, &rows)));
        }
    }
    if let Some(table) = by_hand(report) {
        out.push_str(&format!("\n{STRONG}Beside the same by hand{STRONG:#}\n{table}\n"));
    }
    reasons(&mut out, report);
    out
}

/// A row for each measurement and a column for each engine.
fn compared(report: &Report, rows: &[&Row]) -> String {
    let native = rows.iter().any(|row| row.of("native").is_some());
    let columns = report.engines.iter().map(|engine| engine.name).chain(native.then_some("native"));
    let columns: Vec<&str> = columns.collect();
    let mut table = plain();
    table.set_header(std::iter::once("").chain(columns.iter().copied()));
    for row in rows {
        let cells = columns.iter().map(|column| match row.of(column).map(|cell| (cell.summary, cell.ratio)) {
            Some((Some(summary), ratio)) => {
                let ratio = ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
                format!("{:>8} ±{:>2.0}% {ratio:>6}", time_text(summary.median), summary.spread() * 100.0)
            }
            Some((None, _)) => "-".to_owned(),
            None => String::new(),
        });
        table.add_row(std::iter::once(row.name.clone()).chain(cells));
    }
    finished(table)
}

/// Each engine through Chassis and by hand, where there are both.
fn by_hand(report: &Report) -> Option<String> {
    let mut table = plain();
    table.set_header(["", "engine", "chassis", "by hand", "ratio"]);
    let mut any = false;
    for row in &report.measurements {
        for cell in row.results.iter().filter(|cell| cell.by_hand_ratio.is_some()) {
            let hand = row.of(&format!("{} by hand", cell.engine)).and_then(|cell| cell.median());
            let (Some(through), Some(hand), Some(ratio)) = (cell.median(), hand, cell.by_hand_ratio) else { continue };
            let times = [time_text(through), time_text(hand)].map(|time| format!("{time:>8}"));
            let [through, hand] = times;
            table.add_row([row.name.clone(), cell.engine.to_owned(), through, hand, format!("{ratio:.2}x")]);
            any = true;
        }
    }
    any.then(|| finished(table))
}

/// Why there are no numbers where there are none; each reason once.
fn reasons(out: &mut String, report: &Report) {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for row in &report.measurements {
        for cell in &row.results {
            let Some(reason) = &cell.reason else { continue };
            if told.contains(&(&cell.subject, reason)) {
                continue;
            }
            let gap = if told.is_empty() { "\n" } else { "" };
            out.push_str(&format!("{gap}{ODD}{}{ODD:#} on {}: {reason}\n", row.id, cell.subject));
            told.push((&cell.subject, reason));
        }
    }
    if told.is_empty() && report.failures() == 0 {
        out.push_str(&format!("\n{GOOD}everything ran{GOOD:#}\n"));
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

fn finished(mut table: Table) -> String {
    if let Some(names) = table.column_mut(0) {
        names.set_padding((0, 1));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["0", "-1", "601", "nan", "many"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_file_has_many_names() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("report"), folder.path().join("./report"));
        let round = folder.path().join("../").join(folder.path().file_name().unwrap()).join("report");
        let page = folder.path().join("page");
        for _ in 0..2 {
            assert!(is_same(&file, &other) && is_same(&file, &round) && !is_same(&file, &page));
            fs::write(&file, "").unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&file, &page).unwrap();
            assert!(is_same(&file, &page));
        }
    }

    #[test]
    fn whether_a_file_can_be_written_is_found_out_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        writable(&file).unwrap();
        assert!(!file.exists());
        fs::write(&file, "an older one").unwrap();
        writable(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "an older one");
        for wrong in [folder.path(), &file.join("below"), &folder.path().join("no/folder")] {
            assert_eq!(writable(wrong).unwrap_err().exit, Exit::Usage);
        }
    }
}
