//! Queues between VMs.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::effects::Effect;
use crate::services::{DequeueError, EnqueueError};
use crate::state::VmState;
use crate::status::Status;

/// The queue is there at once; who consumes it is settled when the guest returns.
pub(crate) fn register<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (name, id) = (call.slice(0)?, call.slot(2, 4)?);
    let (name, state) = call.bytes(name);
    let queue = state.shared().and_then(|(shared, plugin)| shared.register_queue(plugin, name));
    let Some(queue) = queue else { return Ok(Status::InternalFailure) };
    if let Some(context) = call.state().plugin_context() {
        call.board()?.push(Effect::ConsumeQueue { context, queue });
    }
    call.write_u32(id, queue);
    Ok(Status::Ok)
}

/// No `vm_id` means the plugin's own.
pub(crate) fn resolve<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (vm_id, name, id) = (call.slice(0)?, call.slice(2)?, call.slot(4, 4)?);
    let (memory, state) = call.memory();
    let (vm_id, name) = (vm_id.of(memory), name.of(memory));
    let queue = state.shared().and_then(|(shared, plugin)| {
        let vm_id = if vm_id.is_empty() { plugin.vm_id.as_bytes() } else { vm_id };
        shared.resolve_queue(vm_id, name)
    });
    let Some(queue) = queue else { return Ok(Status::NotFound) };
    call.write_u32(id, queue);
    Ok(Status::Ok)
}

pub(crate) fn enqueue<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (queue, value) = (call.arg(0), call.slice(1)?);
    let (value, state) = call.bytes(value);
    let Some((shared, plugin)) = state.shared() else { return Ok(Status::NotFound) };
    match shared.enqueue(plugin, queue, value) {
        Ok(()) => {}
        Err(EnqueueError::NotFound) => return Ok(Status::NotFound),
        Err(EnqueueError::Full) => return Ok(Status::InternalFailure),
    }
    call.board()?.push(Effect::WakeConsumer { queue, items: 1 });
    Ok(Status::Ok)
}

/// The item goes back to where it was if it cannot be handed over.
pub(crate) fn dequeue<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let queue = call.arg(0);
    let (pointer, size) = (call.slot(1, 4)?, call.slot(2, 4)?);
    let Some((shared, _)) = call.state().shared() else { return Ok(Status::NotFound) };
    let item = match shared.dequeue(queue) {
        Ok(item) => item,
        Err(DequeueError::NotFound) => return Ok(Status::NotFound),
        Err(DequeueError::Empty) => return Ok(Status::Empty),
    };
    let given = call.give(&item.value, pointer, size);
    if given.is_err()
        && let Some((shared, _)) = call.state().shared()
    {
        shared.put_back(queue, item);
    }
    given
}
