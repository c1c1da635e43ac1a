//! How each function of the ABI's table is called: with arguments that succeed, in the callback in which it is of use.

use bytes::Bytes;
use chassis_abi::{Callback, HeaderList, Param, Row};

use crate::guests::{DATA, Import};

/// How a host function is measured.
#[derive(Debug, Clone)]
pub(crate) struct HostCall {
    pub(crate) import: Import,
    /// The callback that calls it.
    pub(crate) callback: Callback,
    /// How often it is called before the stream is made anew: what it does may add up.
    pub(crate) per_entry: u32,
    pub(crate) ends: Ends,
}

/// How the callback ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It returns; the function must have answered its success, if it has one now.
    WithSuccess,
    /// It returns, whatever the function has answered.
    Anyhow,
    /// The function ends the guest.
    ByExit,
}

/// One argument.
enum Arg {
    Number(u64),
    Bytes(Vec<u8>),
}

use Arg::{Bytes as Data, Number};

/// How often a function is called in one callback if nothing adds up.
pub(crate) const MANY: u32 = 1000;
/// How often if something does.
pub(crate) const SOME: u32 = 50;

const REQUEST_BODY: u64 = 0;
/// The list of one buffer, for WASI: where it lies, and the buffer's place and size.
const IOVEC: u32 = 0x300;
const IOVEC_TEXT: &[u8] = b"written through WASI, as printf would\n";

impl HostCall {
    /// The call that measures this row.
    pub(crate) fn of(row: &'static Row) -> Self {
        let given = given(row.name).unwrap_or_else(|| row.params.iter().filter_map(default_of).collect());
        let mut given = given.into_iter();
        let mut args = Vec::with_capacity(row.sig.params.len());
        let mut data = vec![(IOVEC, iovec()), (IOVEC + 8, IOVEC_TEXT.to_vec())];
        let (mut next, mut slot) = (DATA, 0_u64);
        for param in row.params {
            if matches!(param, Param::Out(_)) {
                args.push(slot);
                slot += 8;
                continue;
            }
            match given.next().or_else(|| default_of(param)) {
                Some(Number(number)) => args.push(number),
                Some(Data(bytes)) => {
                    args.extend([u64::from(next), bytes.len() as u64]);
                    let room = (bytes.len() as u32 + 15) & !15;
                    data.push((next, bytes));
                    next += room;
                }
                None => {}
            }
        }
        let import = Import {
            module: row.modules[0],
            name: row.name,
            sig: row.sig,
            args,
            data: data.split_off(uses_iovec(row)),
        };
        HostCall { import, callback: callback(row.name), per_entry: per_entry(row.name), ends: ends(row) }
    }

    /// A call of `env.NAME` with these arguments; bytes among them lie where [`DATA`] begins.
    pub(crate) fn with(row: &'static Row, args: Vec<u64>, data: Vec<(u32, Vec<u8>)>, per_entry: u32) -> Self {
        let import = Import { module: row.modules[0], name: row.name, sig: row.sig, args, data };
        HostCall { import, callback: Callback::RequestHeaders, per_entry, ends: ends(row) }
    }
}

/// How much of the data at the front is left out: all of it for functions that do not know such lists.
fn uses_iovec(row: &Row) -> usize {
    if matches!(row.name, "fd_write" | "fd_read") { 0 } else { 2 }
}

fn default_of(param: &Param) -> Option<Arg> {
    match param {
        Param::Int(_) | Param::Long(_) => Some(Number(0)),
        Param::Bytes(_) => Some(Data(b"x-bench".to_vec())),
        Param::Pairs(_) => Some(Data(pairs())),
        Param::Out(_) => None,
    }
}

/// The arguments of functions for which the default ones are of no use, without return pointers.
fn given(name: &str) -> Option<Vec<Arg>> {
    let header = || Data(b"x-header-9".to_vec());
    let value = || Data(crate::vm::VALUE.to_vec());
    let fd = |fd| vec![Number(fd)];
    Some(match name {
        "proxy_log" => vec![Number(2), Data(b"a line of some thirty-two bytes.".to_vec())],
        "proxy_set_tick_period_milliseconds" => vec![Number(1000)],
        "proxy_set_effective_context" => vec![Number(u64::from(crate::vm::STREAM))],
        "proxy_get_property" => vec![Data(b"request\0path".to_vec())],
        "proxy_set_property" => vec![Data(b"bench\0value".to_vec()), value()],
        "proxy_get_buffer_bytes" => vec![Number(REQUEST_BODY), Number(0), Number(32)],
        "proxy_set_buffer_bytes" => vec![Number(REQUEST_BODY), Number(0), Number(32), value()],
        "proxy_get_header_map_value" | "proxy_remove_header_map_value" => vec![Number(0), header()],
        "proxy_replace_header_map_value" => vec![Number(0), header(), value()],
        "proxy_add_header_map_value" => vec![Number(0), Data(b"x-added".to_vec()), value()],
        "proxy_send_local_response" => {
            let text = |text: &[u8]| Data(text.to_vec());
            vec![
                Number(403),
                text(b"refused"),
                text(b"Access forbidden.\n"),
                Data(pairs()),
                Number(u64::from(u32::MAX)),
            ]
        }
        // The environment's pointers and text, out of each other's way.
        "environ_get" | "args_get" => vec![Number(0x40), Number(0x80)],
        "random_get" => vec![Number(0x40), Number(32)],
        "fd_write" | "fd_read" => {
            vec![Number(u64::from(name == "fd_write")), Number(u64::from(IOVEC)), Number(1)]
        }
        "fd_close" | "fd_datasync" | "fd_sync" | "fd_fdstat_get" | "fd_filestat_get" => fd(1),
        "poll_oneoff" => vec![Number(0x40), Number(0x80), Number(1)],
        "pthread_equal" => vec![Number(1), Number(1)],
        _ => return None,
    })
}

/// Two fields, as they go into a guest's own response.
fn pairs() -> Vec<u8> {
    let fields = [("content-type", "text/plain"), ("x-bench", "1")];
    fields.into_iter().map(|(name, value)| (Bytes::from(name), Bytes::from(value))).collect::<HeaderList>().encode()
}

fn iovec() -> Vec<u8> {
    [IOVEC + 8, IOVEC_TEXT.len() as u32].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn callback(name: &str) -> Callback {
    if name == "proxy_get_configuration" { Callback::Configure } else { Callback::RequestHeaders }
}

fn per_entry(name: &str) -> u32 {
    match name {
        // Once, and nothing more happens; each is measured with the callback around it.
        "proxy_send_local_response" | "proxy_done" | "proxy_remove_header_map_value" | "proc_exit" => 1,
        "proxy_add_header_map_value" => SOME,
        _ => MANY,
    }
}

fn ends(row: &Row) -> Ends {
    if row.name == "proc_exit" {
        Ends::ByExit
    } else if row.statuses.contains(&chassis_abi::Status::Ok) {
        Ends::WithSuccess
    } else {
        Ends::Anyhow
    }
}

/// What a function answers when it is called this way, by its name; `None` for one that succeeds.
pub(crate) fn refusal(row: &Row) -> Option<&'static str> {
    let first = row.statuses.first()?;
    (ends(row) == Ends::Anyhow).then(|| match row.statuses {
        [.., last] if row.name == "proxy_define_metric" => last.as_str(),
        _ => first.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use chassis_abi::TABLE;
    use chassis_engine_api::Ty;

    use super::*;

    #[test]
    fn every_function_is_called_with_as_many_arguments_as_it_has() {
        for row in TABLE {
            let call = HostCall::of(row);
            assert_eq!(call.import.args.len(), row.sig.params.len(), "{}", row.name);
            for (arg, ty) in call.import.args.iter().zip(row.sig.params) {
                assert!(*ty == Ty::I64 || *arg <= u64::from(u32::MAX), "{}", row.name);
            }
            let end = call.import.data.iter().map(|(at, bytes)| at + bytes.len() as u32).max().unwrap_or(0);
            assert!(end < crate::guests::HEAP, "{}", row.name);
        }
    }
}
