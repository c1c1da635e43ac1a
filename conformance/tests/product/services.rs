//! Services that are the same each time: clocks stand still, and the stores are a process's own with little room.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chassis_abi::{
    Exchange, ForeignCall, ForeignError, Identity, LogLevel, LogRecord, NoRandomness, Property, Quotas, Services,
    SharedServices,
};
use chassis_host::{HostServices, LogLine, LogSink, Stores};

/// Who the guest is, and how little it may have.
pub(crate) fn identity() -> Identity {
    Identity {
        name: "product".into(),
        root_id: "root".into(),
        vm_id: "vm".into(),
        vm_configuration: Bytes::from_static(b"vm configuration"),
        environment: vec![("A".into(), "1".into())],
        quotas: Quotas { shared_data: 1000, queues: 4000, metrics: 4 },
        ..Identity::default()
    }
}

/// What was logged.
pub(crate) type Lines = Arc<Mutex<Vec<String>>>;

pub(crate) struct Outside {
    host: HostServices,
    lines: Lines,
}

struct Silent;

impl LogSink for Silent {
    fn log(&self, _line: &LogLine<'_>) {}
}

impl Outside {
    pub(crate) fn new(stores: &Arc<Stores>, lines: &Lines) -> Self {
        for (name, error) in [
            ("bad argument", ForeignError::BadArgument),
            ("no form", ForeignError::SerializationFailure),
            ("fails", ForeignError::InternalFailure),
        ] {
            stores.register_function(name, move |_: &mut ForeignCall<'_>| Err(error));
        }
        stores.register_function("echo", |call: &mut ForeignCall<'_>| Ok(Bytes::copy_from_slice(call.arguments)));
        let host = HostServices::new(Arc::new(Silent), LogLevel::Info).with_stores(stores.clone());
        Outside { host, lines: lines.clone() }
    }
}

impl Services for Outside {
    fn realtime_nanos(&mut self) -> u64 {
        0x0102_0304_0506_0708
    }

    fn monotonic_nanos(&mut self) -> u64 {
        42
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(0xaa);
        Ok(())
    }

    fn log(&mut self, record: LogRecord<'_>) {
        let (level, bytes) = (record.level.as_str(), record.message.len());
        let begin = record.message[..bytes.min(16)].escape_ascii();
        self.lines.lock().unwrap().push(format!("{level} {} {bytes} {begin}", record.context));
    }

    fn log_level(&mut self, _plugin: &Identity) -> LogLevel {
        LogLevel::Info
    }

    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        if path == [b"broken".as_slice()] {
            return Property::Unserializable;
        }
        self.host.property(exchange, path)
    }

    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        self.host.shared()
    }
}
