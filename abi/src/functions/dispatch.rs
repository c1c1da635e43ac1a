//! What happens around every host function: is it allowed now, what does it answer, who watches.

use std::marker::PhantomData;

use chassis_engine_api::{Caller, HostError, HostFn, Sig, Stop};

use crate::call::{Call, Fault};
use crate::observer::HostCall;
use crate::state::{Phase, VmState};
use crate::status::{Errno, Status};
use crate::table::{Allowed, Answer, Group, Param, Row};

/// A host function with its row.
pub(crate) trait Function: 'static {
    /// Its row.
    const ROW: &'static Row;

    /// Runs it.
    fn run<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<Reply, Fault>;
}

/// What a host function answers, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(Status),
    Errno(Errno),
    Number(u32),
    None,
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Reply::Status(status)
    }
}

impl From<Errno> for Reply {
    fn from(errno: Errno) -> Self {
        Reply::Errno(errno)
    }
}

impl From<u32> for Reply {
    fn from(number: u32) -> Self {
        Reply::Number(number)
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Self {
        Reply::None
    }
}

impl Reply {
    fn number(self) -> u32 {
        match self {
            Reply::Status(status) => status as u32,
            Reply::Errno(errno) => errno as u32,
            Reply::Number(number) => number,
            Reply::None => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Reply::Status(status) => status.as_str(),
            Reply::Errno(errno) => errno.as_str(),
            Reply::Number(_) | Reply::None => "",
        }
    }
}

/// A Wasm module name under which functions are offered.
pub(crate) trait Namespace: 'static {
    /// The name.
    const NAME: &'static str;
}

/// `F` as it is offered under the module name `N`.
pub(crate) struct In<N, F>(PhantomData<fn() -> (N, F)>);

impl<N: Namespace, F: Function> HostFn<VmState> for In<N, F> {
    const MODULE: &'static str = N::NAME;
    const NAME: &'static str = F::ROW.name;
    const SIG: Sig = F::ROW.sig;

    #[inline]
    fn call<C: Caller<VmState> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        dispatch::<F, C>(caller, slots)
    }
}

#[inline]
fn dispatch<F: Function, C: Caller<VmState> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
    let state = caller.state();
    if state.phase != Phase::Callback {
        allowed_outside_callbacks(F::ROW, state.phase)?;
    }
    if state.is_observed() {
        return watched::<F, C>(caller, slots);
    }
    let reply = answer::<F, C>(caller, slots)?;
    if let Some(slot) = slots.first_mut()
        && F::ROW.sig.result.is_some()
    {
        *slot = u64::from(reply.number());
    }
    Ok(())
}

#[inline]
fn answer<F: Function, C: Caller<VmState> + ?Sized>(caller: &mut C, slots: &[u64]) -> Result<Reply, Stop> {
    let reply = match F::run(&mut Call::new(caller, slots)) {
        Ok(reply) => reply,
        Err(Fault::Status(status)) => failed(F::ROW.answer, status),
        Err(Fault::Stop(stop)) => return Err(stop),
    };
    debug_assert!(is_listed(F::ROW, reply), "{} answered {reply:?}, which its row does not list", F::ROW.name);
    Ok(reply)
}

/// A failed check as the function's kind of answer.
fn failed(answer: Answer, status: Status) -> Reply {
    match (answer, status) {
        (Answer::Status, status) => Reply::Status(status),
        (Answer::Errno, Status::InvalidMemoryAccess) => Reply::Errno(Errno::Fault),
        (Answer::Errno, _) => Reply::Errno(Errno::Inval),
        (Answer::Number | Answer::None, _) => Reply::None,
    }
}

fn is_listed(row: &Row, reply: Reply) -> bool {
    match reply {
        Reply::Status(Status::InvalidMemoryAccess) => row.answer == Answer::Status && row.has_pointers(),
        Reply::Status(status) => row.answer == Answer::Status && row.statuses.contains(&status),
        Reply::Errno(_) => row.answer == Answer::Errno,
        Reply::Number(_) => row.answer == Answer::Number,
        Reply::None => matches!(row.answer, Answer::None | Answer::Number),
    }
}

#[cold]
fn allowed_outside_callbacks(row: &Row, phase: Phase) -> Result<(), Stop> {
    let (allowed, place) = match phase {
        Phase::Start => (row.allowed != Allowed::Callbacks, "a start function"),
        Phase::Allocator => (row.allowed == Allowed::Everywhere, "the allocator"),
        Phase::Callback => (true, ""),
    };
    if allowed {
        return Ok(());
    }
    Err(Stop::Host(HostError::new(format!("{} may not be called in {place}", row.name))))
}

/// As without an observer, and tells it.
#[cold]
fn watched<F: Function, C: Caller<VmState> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
    let args = readable(caller, F::ROW, slots);
    let reply = answer::<F, C>(caller, slots);
    let (result, result_name) = match &reply {
        Ok(reply) if F::ROW.sig.result.is_some() => (Some(reply.number()), reply.name()),
        _ => (None, ""),
    };
    let returned = match &reply {
        Ok(Reply::Status(Status::Ok)) => readable_return(caller, F::ROW, slots),
        _ => None,
    };
    if let Some(observer) = caller.state().board.as_mut().and_then(|board| board.observer.as_mut()) {
        let returned = returned.as_deref();
        observer.host_call(HostCall { row: F::ROW, args: &args, result, result_name, returned });
    }
    let number = reply?.number();
    if let Some(slot) = slots.first_mut()
        && F::ROW.sig.result.is_some()
    {
        *slot = u64::from(number);
    }
    Ok(())
}

/// How much of an argument an observer is shown.
const SHOWN: usize = 4096;

fn readable<C: Caller<VmState> + ?Sized>(caller: &mut C, row: &Row, slots: &[u64]) -> Vec<String> {
    let (memory, _) = caller.memory();
    let mut shown = Vec::with_capacity(row.params.len());
    let mut i = 0;
    for param in row.params {
        match param {
            Param::Int(_) => shown.push((slots[i] as u32 as i32).to_string()),
            Param::Long(_) => shown.push((slots[i] as i64).to_string()),
            Param::Bytes(_) | Param::Pairs(_) => {
                let start = slots[i] as u32 as usize;
                let end = start.saturating_add(slots[i + 1] as u32 as usize);
                shown.push(match memory.get(start..end) {
                    Some(bytes) if matches!(param, Param::Pairs(_)) => show_pairs(bytes),
                    Some(bytes) if *param == Param::Bytes("path") && row.group == Group::Properties => show_path(bytes),
                    Some(bytes) => show_bytes(bytes),
                    None => format!("<{} bytes outside the memory>", slots[i + 1] as u32),
                });
                i += 1;
            }
            Param::Out(_) => {}
        }
        i += 1;
    }
    shown
}

/// What the return pointers point to; a `data` is followed by its `size`.
fn readable_return<C: Caller<VmState> + ?Sized>(caller: &mut C, row: &Row, slots: &[u64]) -> Option<String> {
    let (memory, _) = caller.memory();
    let memory = &*memory;
    let number = |at: u64, bytes: usize| {
        let mut number = [0; 8];
        let start = at as u32 as usize;
        number[..bytes].copy_from_slice(memory.get(start..start.checked_add(bytes)?)?);
        Some(u64::from_le_bytes(number))
    };
    let mut shown = Vec::new();
    // The return pointers come last, as one value each.
    let outs = row.params.iter().filter(|param| matches!(param, Param::Out(_))).count();
    let slots = slots.get(row.sig.params.len() - outs..row.sig.params.len())?;
    let names = row.params[row.params.len() - outs..].iter();
    let mut data = None;
    for (param, slot) in names.zip(slots) {
        if row.group == Group::Foreign && *slot == 0 {
            continue;
        }
        match (param, data.take()) {
            (Param::Out("data"), _) => data = Some(number(*slot, 4)?),
            (Param::Out("size"), Some(data)) => {
                let (start, size) = (data as usize, number(*slot, 4)? as usize);
                let bytes = memory.get(start..start.checked_add(size)?)?;
                let pairs = row.name == "proxy_get_header_map_pairs";
                shown.push(if pairs { show_pairs(bytes) } else { show_bytes(bytes) });
            }
            (Param::Out("time" | "value"), _) => shown.push(number(*slot, 8)?.to_string()),
            (_, _) => shown.push(number(*slot, 4)?.to_string()),
        }
    }
    (!shown.is_empty()).then(|| shown.join(", "))
}

/// Text with its control characters escaped; escaped bytes if it is no text.
fn show_bytes(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => text,
        // The last character may have been cut in two.
        Err(error) if cut.len() < bytes.len() && error.error_len().is_none() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return with_size(cut.escape_ascii().to_string(), cut, bytes),
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    with_size(shown, cut, bytes)
}

fn with_size(mut shown: String, cut: &[u8], bytes: &[u8]) -> String {
    if cut.len() < bytes.len() {
        shown.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    shown
}

/// A property's path, whose parts are separated by NUL.
fn show_path(path: &[u8]) -> String {
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    path.split(|byte| *byte == 0).map(show_bytes).collect::<Vec<_>>().join(".")
}

fn show_pairs(bytes: &[u8]) -> String {
    let Ok(list) = crate::headers::HeaderList::decode(bytes) else {
        return format!("<{} malformed bytes>", bytes.len());
    };
    let pairs = list.iter().map(|(name, value)| format!("{}: {}", show_bytes(name), show_bytes(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;

    #[test]
    fn a_reply_is_listed_if_its_row_says_so() {
        use Status::{
            BadArgument, CasMismatch, Empty, InternalFailure, NotFound, Ok, ParseFailure, SerializationFailure,
        };
        let all = [Ok, NotFound, BadArgument, SerializationFailure, ParseFailure, Empty, CasMismatch, InternalFailure];
        for row in TABLE {
            for status in all {
                assert_eq!(is_listed(row, Reply::Status(status)), row.statuses.contains(&status), "{}", row.name);
            }
            let takes_pointers = row.answer == Answer::Status && row.has_pointers();
            assert_eq!(is_listed(row, Reply::Status(Status::InvalidMemoryAccess)), takes_pointers, "{}", row.name);
            assert_eq!(is_listed(row, Reply::Errno(Errno::Fault)), row.answer == Answer::Errno, "{}", row.name);
        }
    }
}
