//! WASI preview 1 as a host without files, sockets and arguments has it.

use chassis_engine_api::{Caller, Stop};

use super::{WasiOutcome, log, output};
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::status::{Errno, Status};
use crate::types::LogLevel;

/// Standard input, output and error.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// How many random bytes may be asked for at once.
const MAX_RANDOM: u32 = 65_536;
/// How many pieces one write may have.
const MAX_IOVECS: u32 = 1024;

pub(crate) fn success<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(Errno::Success)
}

pub(crate) fn not_supported<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(if is_open(call.arg(0)) { Errno::Notsup } else { Errno::Badf })
}

pub(crate) fn unavailable<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(Errno::Nosys)
}

pub(crate) fn no_file<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(Errno::Badf)
}

pub(crate) fn no_entry<C: Caller<VmState> + ?Sized>(_call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(Errno::Noent)
}

pub(crate) fn no_directory<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(if is_open(call.arg(0)) { Errno::Notdir } else { Errno::Badf })
}

pub(crate) fn no_socket<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(if is_open(call.arg(0)) { Errno::Notsock } else { Errno::Badf })
}

/// What succeeds without effect on the standard streams.
pub(crate) fn standard_stream<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(if is_open(call.arg(0)) { Errno::Success } else { Errno::Badf })
}

/// What needs a position, which the standard streams do not have.
pub(crate) fn not_seekable<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    Ok(if is_open(call.arg(0)) { Errno::Spipe } else { Errno::Badf })
}

pub(crate) fn args_sizes_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let (count, size) = (call.slot(0, 4)?, call.slot(1, 4)?);
    call.write_u32(count, 0);
    call.write_u32(size, 0);
    Ok(Errno::Success)
}

pub(crate) fn environ_sizes_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let (count, size) = (call.slot(0, 4)?, call.slot(1, 4)?);
    let environment = &call.state().identity.environment;
    let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let entries = environment.len();
    call.write_u32(count, u32::try_from(entries).unwrap_or(u32::MAX));
    call.write_u32(size, u32::try_from(bytes).unwrap_or(u32::MAX));
    Ok(Errno::Success)
}

pub(crate) fn environ_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let mut text = Vec::new();
    let mut offsets = Vec::new();
    for (name, value) in &call.state().identity.environment {
        offsets.push(text.len() as u32);
        text.extend_from_slice(format!("{name}={value}\0").as_bytes());
    }
    let (pointers, buffer) = (call.arg(0), call.arg(1));
    let pointers_len = u32::try_from(4 * offsets.len()).map_err(|_| Status::InvalidMemoryAccess)?;
    let text_len = u32::try_from(text.len()).map_err(|_| Status::InvalidMemoryAccess)?;
    let pointers = call.slot_at(pointers, pointers_len)?;
    let place = call.slot_at(buffer, text_len)?;
    let addresses: Vec<u8> = offsets.iter().flat_map(|offset| (buffer + offset).to_le_bytes()).collect();
    call.write(pointers, &addresses);
    call.write(place, &text);
    Ok(Errno::Success)
}

pub(crate) fn clock_res_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    if call.arg(0) > 1 {
        return Ok(Errno::Inval);
    }
    let out = call.slot(1, 8)?;
    call.write_u64(out, 1);
    Ok(Errno::Success)
}

pub(crate) fn clock_time_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let out = call.slot(2, 8)?;
    let id = call.arg(0);
    let services = &mut call.board()?.services;
    let time = match id {
        0 => services.realtime_nanos(),
        1 => services.monotonic_nanos(),
        _ => return Ok(Errno::Inval),
    };
    call.write_u64(out, time);
    Ok(Errno::Success)
}

/// A character device that can be written to; input can be read.
pub(crate) fn fd_fdstat_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    const CHARACTER_DEVICE: u8 = 2;
    const RIGHT_READ: u64 = 1 << 1;
    const RIGHT_WRITE: u64 = 1 << 6;
    let fd = call.arg(0);
    let out = call.slot(1, 24)?;
    if !is_open(fd) {
        return Ok(Errno::Badf);
    }
    let mut stat = [0; 24];
    stat[0] = CHARACTER_DEVICE;
    let rights = if fd == STDIN { RIGHT_READ } else { RIGHT_WRITE };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    call.write(out, &stat);
    Ok(Errno::Success)
}

pub(crate) fn fd_filestat_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    const CHARACTER_DEVICE: u8 = 2;
    let out = call.slot(1, 64)?;
    if !is_open(call.arg(0)) {
        return Ok(Errno::Badf);
    }
    let mut stat = [0; 64];
    stat[16] = CHARACTER_DEVICE;
    call.write(out, &stat);
    Ok(Errno::Success)
}

pub(crate) fn fd_read<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let out = call.slot(3, 4)?;
    match call.arg(0) {
        STDIN => {
            call.write_u32(out, 0);
            Ok(Errno::Success)
        }
        fd if is_open(fd) => Ok(Errno::Notsup),
        _ => Ok(Errno::Badf),
    }
}

/// Each line is a log line; one that has not ended waits for its newline, or for the end of the callback. No more is taken
/// at once than a log line may have, and the guest is told how much.
pub(crate) fn fd_write<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let (iovecs, count) = (call.arg(1), call.arg(2));
    let out = call.slot(3, 4)?;
    let level = match call.arg(0) {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return Ok(Errno::Badf),
    };
    if count > MAX_IOVECS {
        return Ok(Errno::Inval);
    }
    let text = gather(call, iovecs, count)?;
    output::write(call.state(), level, &text);
    call.write_u32(out, text.len() as u32);
    Ok(Errno::Success)
}

/// The text of all pieces, cut to what one write takes.
fn gather<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>, iovecs: u32, count: u32) -> Result<Vec<u8>, Fault> {
    let table = call.slice_at(iovecs, count * 8)?;
    let table = call.copy(table);
    let mut pieces = Vec::with_capacity(count as usize);
    for iovec in table.chunks_exact(8) {
        let pointer = u32::from_le_bytes([iovec[0], iovec[1], iovec[2], iovec[3]]);
        let len = u32::from_le_bytes([iovec[4], iovec[5], iovec[6], iovec[7]]);
        pieces.push(call.slice_at(pointer, len)?);
    }
    let mut text = Vec::new();
    for piece in &pieces {
        let room = log::MAX_LINE.saturating_sub(text.len());
        let bytes = call.bytes(*piece).0;
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    Ok(text)
}

/// Go's runtime ends itself unless this succeeds.
pub(crate) fn poll_oneoff<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let out = call.slot(3, 4)?;
    call.write_u32(out, 0);
    Ok(Errno::Success)
}

pub(crate) fn proc_exit<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Result<(), Fault> {
    Err(Fault::Stop(Stop::Exit(call.arg(0) as i32)))
}

pub(crate) fn random_get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> WasiOutcome {
    let place = call.slice(0)?;
    if call.arg(1) > MAX_RANDOM {
        return Ok(Errno::Inval);
    }
    let mut bytes = vec![0; place.len];
    if call.board()?.services.random(&mut bytes).is_err() {
        return Ok(Errno::Io);
    }
    let slot = call.slot(0, call.arg(1))?;
    call.write(slot, &bytes);
    Ok(Errno::Success)
}

fn is_open(fd: u32) -> bool {
    fd <= STDERR
}
