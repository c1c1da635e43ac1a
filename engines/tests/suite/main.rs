//! The cross-engine suite: what every engine must do, each case on each compiled-in engine and in each profile.
//!
//! A case is a trial named `<area>/<case>::<engine>`, with `-<profile>` behind the engine's name where that is not the
//! default one. What an engine cannot do by its own Capabilities is reported as ignored, with the reason in front of
//! the name. Guests are inline Wasm text; the native engine has Rust guests for some of them (`native_guests`). The
//! suite knows nothing of Proxy-Wasm.

#![allow(clippy::unwrap_used)]

mod case;
mod child;
mod guest;
mod host;
mod list;
mod native_guests;
mod shapes;
mod subject;
mod together;

mod aot;
mod calls;
mod deadline;
mod depth;
mod features;
mod fuel;
mod limits;
mod linking;
mod panics;
mod reentry;
mod start;
mod starved;
mod stops;
mod threads;
mod traps;

use chassis_engine_api::native::NativeEngine;
use libtest_mimic::{Arguments, Trial};

use crate::case::{Area, trials};
use crate::list::List;
use crate::subject::Subject;

fn main() {
    if child::did_task() {
        return;
    }
    let arguments = Arguments::from_args();
    let mut all = Vec::new();
    #[allow(unused_mut)]
    let mut lists = vec![add::<NativeEngine>(&mut all)];
    #[cfg(feature = "wasmtime")]
    lists.push(add::<chassis_backend_wasmtime::WasmtimeEngine>(&mut all));
    #[cfg(feature = "wasmer")]
    lists.push(add::<chassis_backend_wasmer::WasmerEngine>(&mut all));
    #[cfg(feature = "wasmedge")]
    lists.push(add::<chassis_backend_wasmedge::WasmedgeEngine>(&mut all));
    #[cfg(feature = "wasmi")]
    lists.push(add::<chassis_backend_wasmi::WasmiEngine>(&mut all));
    all.extend(together::trials());
    all.extend(list::trials(lists));
    libtest_mimic::run(&arguments, all).exit();
}

fn add<E: Subject>(all: &mut Vec<Trial>) -> List {
    let areas: Vec<Area<E>> = vec![
        aot::area(),
        calls::area(),
        deadline::area(),
        depth::area(),
        features::area(),
        fuel::area(),
        limits::area(),
        linking::area(),
        panics::area(),
        reentry::area(),
        start::area(),
        starved::area(),
        stops::area(),
        threads::area(),
        traps::area(),
    ];
    let trials = trials(&areas);
    let list = List::new::<E>(&trials);
    all.extend(trials);
    list
}
