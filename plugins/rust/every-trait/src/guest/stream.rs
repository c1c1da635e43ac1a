//! A connection.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::{Action, BufferType, MapType, PeerType, Status};

use super::calls::{self, answer};
use super::show::{Show, told};
use crate::wishes::Wishes;

pub(super) struct Stream {
    wishes: Rc<Wishes>,
}

context!(Stream);

impl Stream {
    pub(super) fn new(wishes: Rc<Wishes>) -> Self {
        Stream { wishes }
    }

    fn go_on(&self) {
        self.resume_downstream();
    }

    fn is_done(&self) -> bool {
        true
    }
}

impl StreamContext for Stream {
    logged! {
        fn get_downstream_data(start: usize, max_size: usize) -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::DownstreamData, start, max_size));
        fn set_downstream_data(start: usize, size: usize, value: &[u8]) =
            answer(hostcalls::set_buffer(BufferType::DownstreamData, start, size, value));
        fn resume_downstream() = answer(hostcalls::resume_downstream());
        fn close_downstream() = answer(hostcalls::close_downstream());
        fn get_upstream_data(start: usize, max_size: usize) -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::UpstreamData, start, max_size));
        fn set_upstream_data(start: usize, size: usize, value: &[u8]) =
            answer(hostcalls::set_buffer(BufferType::UpstreamData, start, size, value));
        fn resume_upstream() = answer(hostcalls::resume_upstream());
        fn close_upstream() = answer(hostcalls::close_upstream());
    }

    fn on_new_connection(&mut self) -> Action {
        log::info!("on_new_connection()");
        self.get_property(vec!["source", "address"]);
        self.resume_downstream();
        calls::stores(self, &self.wishes);
        calls::begin(self, &self.wishes)
    }

    fn on_downstream_data(&mut self, size: usize, end: bool) -> Action {
        log::info!("on_downstream_data({size}, {end})");
        self.get_downstream_data(0, size);
        if self.wishes.has("set_data") {
            self.set_downstream_data(0, 0, b"down:");
        }
        if self.wishes.has("close_downstream") {
            self.close_downstream();
        }
        Action::Continue
    }

    fn on_downstream_close(&mut self, peer: PeerType) {
        log::info!("on_downstream_close({peer:?})");
    }

    fn on_upstream_data(&mut self, size: usize, end: bool) -> Action {
        log::info!("on_upstream_data({size}, {end})");
        self.get_upstream_data(0, size);
        if self.wishes.has("set_data") {
            self.set_upstream_data(0, 0, b"up:");
        }
        if self.wishes.has("resume_upstream") {
            self.resume_upstream();
        }
        if self.wishes.has("close_upstream") {
            self.close_upstream();
        }
        Action::Continue
    }

    fn on_upstream_close(&mut self, peer: PeerType) {
        log::info!("on_upstream_close({peer:?})");
    }

    fn on_log(&mut self) {
        log::info!("on_log()");
    }
}
