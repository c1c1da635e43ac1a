//! Properties.

use bytes::Bytes;
use chassis_abi::{Callback, Property, Status};

use crate::rig::{DATA, Rig};

const NONE: u32 = Status::NotFound as u32;

#[test]
fn a_plugin_knows_itself_everywhere() {
    let mut rig = Rig::new();
    let (root, stream) = (rig.root, rig.stream);
    for (callback, context) in [(Callback::ContextCreate, root), (Callback::VmStart, root), (Callback::Log, stream)] {
        rig.run(callback, context, |wasm| {
            assert_eq!(wasm.property("plugin_name"), Ok(b"rig".to_vec()));
            assert_eq!(wasm.property("plugin_root_id"), Ok(b"root".to_vec()));
            assert_eq!(wasm.property("plugin_vm_id"), Ok(b"vm".to_vec()));
            assert_eq!(wasm.property("plugin_name."), Ok(b"rig".to_vec()), "a NUL may follow the last part");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn what_a_guest_sets_stays_with_the_stream() {
    let mut rig = Rig::new();
    let (root, other) = (rig.root, rig.other);
    rig.request(|wasm| {
        assert_eq!(wasm.set_property("a.b", b"1"), 0);
        assert_eq!(wasm.set_property("a.b.", b"2"), 0);
        assert_eq!(wasm.property("a.b"), Ok(b"2".to_vec()));
        assert_eq!(wasm.set_property("empty", b""), 0);
        assert_eq!(wasm.property("empty"), Ok(Vec::new()));
        assert_eq!(wasm.property("a"), Err(NONE));
    });
    assert_eq!(rig.run(Callback::RequestHeaders, other, |wasm| Ok(wasm.property("a.b"))).unwrap(), Err(NONE));
    rig.run(Callback::Tick, root, |wasm| {
        assert_eq!(wasm.property("a.b"), Err(NONE));
        assert_eq!(wasm.set_property("a", b"1"), NONE, "there is no stream to set it on");
        Ok(())
    })
    .unwrap();
    assert_eq!(rig.exchange().properties.len(), 2);
}

#[test]
fn what_the_host_says_cannot_be_overwritten() {
    let mut rig = Rig::new();
    let address = Property::Value(Bytes::from_static(b"192.0.2.1:5"));
    *rig.shared.known.lock().unwrap() = vec![("source.address".into(), address)];
    rig.request(|wasm| {
        assert_eq!(wasm.set_property("source.address", b"127.0.0.1:1"), NONE);
        assert_eq!(wasm.property("source.address"), Ok(b"192.0.2.1:5".to_vec()));
        assert_eq!(wasm.set_property("plugin_name", b"other"), NONE);
        assert_eq!(wasm.set_property("response.code", b"1"), 0);
    });
    // What the host comes to know later counts from then on.
    let code = Property::Value(Bytes::from_static(b"2"));
    rig.shared.known.lock().unwrap().push(("response.code".into(), code));
    assert_eq!(rig.request(|wasm| wasm.property("response.code")), Ok(b"2".to_vec()));
    assert_eq!(rig.exchange().properties.len(), 1);
}

#[test]
fn an_attribute_that_the_stream_lacks_cannot_be_made_up() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for path in ["source.address", "connection.subject_peer_certificate", "request.headers.x-user", "response"] {
            assert_eq!(wasm.set_property(path, b"made up"), 0, "{path}");
            assert_eq!(wasm.property(path), Err(NONE), "{path}");
        }
        for path in ["sources.address", "x.source.address", "requests"] {
            assert_eq!(wasm.set_property(path, b"own"), 0, "{path}");
            assert_eq!(wasm.property(path), Ok(b"own".to_vec()), "{path}");
        }
    });
}

#[test]
fn odd_paths() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for path in ["", ".", "..", "a..b", "\u{e9}.\u{0}"] {
            assert_eq!(wasm.property(path), Err(NONE), "{path:?}");
        }
        assert_eq!(wasm.set_property("", b"x"), NONE);
        assert_eq!(wasm.set_property(".", b"x"), NONE);
        let [path, len] = wasm.put(DATA, &[0xff; 4097]);
        assert_eq!(wasm.env("proxy_get_property", &[path, len, 0, 4]).unwrap(), NONE);
        assert_eq!(wasm.env("proxy_set_property", &[path, len, 0, 0]).unwrap(), NONE);
        assert_eq!(wasm.env("proxy_set_property", &[path, 4096, 0, 0]).unwrap(), 0);
        assert_eq!(wasm.env("proxy_get_property", &[path, 4096, 0, 4]).unwrap(), 0);
    });
}

#[test]
fn properties_have_a_quota() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!((0..2000).filter(|i| wasm.set_property(&format!("{i}"), b"v") == 0).count(), 1000);
        assert_eq!(wasm.set_property("7", b"other"), 0, "what is there can be replaced");
    });
    let mut rig = Rig::new();
    rig.request(|wasm| {
        let accepted = (0..100).filter(|i| wasm.env("proxy_set_property", &[*i, 1, 0, 1 << 16]).unwrap() == 0).count();
        assert!(accepted < 2, "one path only: all bytes there are 0");
        let [path, _] = wasm.put(DATA, &(0..=255_u8).collect::<Vec<_>>());
        let accepted =
            (1..100).filter(|i| wasm.env("proxy_set_property", &[path + i, 1, 0, 1 << 16]).unwrap() == 0).count();
        assert_eq!(accepted, 15);
        assert_eq!(
            wasm.env("proxy_set_property", &[path + 200, 1, 0, 1 << 16]).unwrap(),
            Status::InternalFailure as u32
        );
    });
}
