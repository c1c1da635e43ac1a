//! Metrics.

use chassis_engine_api::Caller;

use super::Outcome;
use crate::call::Call;
use crate::services::{DefineMetricError, MetricError};
use crate::state::VmState;
use crate::status::Status;
use crate::types::MetricType;

pub(crate) fn define<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let metric = MetricType::from_u32(call.arg(0)).ok_or(Status::BadArgument)?;
    let (name, id) = (call.slice(1)?, call.slot(3, 4)?);
    let (name, state) = call.bytes(name);
    let Some((shared, plugin)) = state.shared() else { return Ok(Status::InternalFailure) };
    match shared.define_metric(plugin, metric, name) {
        Ok(metric) => call.write_u32(id, metric),
        Err(DefineMetricError::OtherType) => return Ok(Status::BadArgument),
        Err(DefineMetricError::Full) => return Ok(Status::InternalFailure),
    }
    Ok(Status::Ok)
}

pub(crate) fn increment<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (metric, offset) = (call.arg(0), call.long(1) as i64);
    let Some((shared, plugin)) = call.state().shared() else { return Ok(Status::NotFound) };
    Ok(shared.increment_metric(plugin, metric, offset).map_or_else(status, |()| Status::Ok))
}

pub(crate) fn record<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (metric, value) = (call.arg(0), call.long(1));
    let Some((shared, plugin)) = call.state().shared() else { return Ok(Status::NotFound) };
    Ok(if shared.record_metric(plugin, metric, value) { Status::Ok } else { Status::NotFound })
}

pub(crate) fn get<C: Caller<VmState> + ?Sized>(call: &mut Call<'_, C>) -> Outcome {
    let (metric, out) = (call.arg(0), call.slot(1, 8)?);
    let Some((shared, plugin)) = call.state().shared() else { return Ok(Status::NotFound) };
    match shared.metric(plugin, metric) {
        Ok(value) => call.write_u64(out, value),
        Err(error) => return Ok(status(error)),
    }
    Ok(Status::Ok)
}

fn status(error: MetricError) -> Status {
    match error {
        MetricError::NotFound => Status::NotFound,
        MetricError::BadArgument => Status::BadArgument,
    }
}
