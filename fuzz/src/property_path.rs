//! Paths of properties, read and set, in each dialect.

use chassis_abi::{Callback, Dialect};

use crate::input::Input;
use crate::world::{Allocator, World};

const PATH: u32 = 0x1000;

/// Sets the property whose path is in `data`, and reads it. The first byte is the dialect and the context.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let dialect = [Dialect::Envoy, Dialect::Kong, Dialect::Apisix][usize::from(choice % 3)];
    let context = u32::from(choice / 3 % 6);
    let path = input.rest();
    let path = path[..path.len().min(8192)].to_vec();
    let mut world = World::new(dialect);
    let job = move |host: &mut dyn chassis_engine_api::native::Host| {
        host.memory()[PATH as usize..][..path.len()].copy_from_slice(&path);
        let (pointer, len) = (u64::from(PATH), path.len() as u64);
        let mut call = |name, args: [u64; 4]| {
            let mut slots = [0; 16];
            slots[..4].copy_from_slice(&args);
            host.import("env", name, &mut slots).map(|()| slots[0])
        };
        let before = call("proxy_get_property", [pointer, len, 0, 4])?;
        let set = call("proxy_set_property", [pointer, len, pointer, 3.min(len)])?;
        let after = call("proxy_get_property", [pointer, len, 0, 4])?;
        assert!([0, 1, 3].contains(&before) && [0, 1, 10].contains(&set), "{before} {set}");
        // What the host knows is not set, and what cannot be told stays so.
        assert!(after == before || (set == 0 && after == 0), "{before} {set} {after}");
        Ok(())
    };
    world.run(Callback::RequestHeaders, context, Allocator::Good, Box::new(job));
}
