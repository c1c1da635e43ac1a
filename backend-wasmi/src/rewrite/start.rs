//! The start section as an export. wasmi runs a start section while it makes the instance, in one go that nothing could
//! end.

use std::borrow::Cow;
use std::sync::Arc;

use chassis_engine_api::CheckedModule;
use chassis_engine_api::binary::{self, HEADER, id, kind, sections, unused_export, write_extended};

/// The module without its start section, and the name under which its function is exported instead, which nothing
/// else in the module has; or the module as it is.
pub(super) fn as_export(module: &CheckedModule) -> (Cow<'_, [u8]>, Option<Arc<str>>) {
    let bytes = module.bytes();
    let Some(start) = sections(bytes).find(|section| section.id == id::START) else {
        return (Cow::Borrowed(bytes), None);
    };
    let name = unused_export(module.info(), "start");
    (Cow::Owned(export(bytes, start.payload, &name)), Some(name.into()))
}

/// `function` is the payload of the start section: one function index.
fn export(bytes: &[u8], function: &[u8], name: &str) -> Vec<u8> {
    let entry = [binary::export(name, kind::FUNCTION, function)];
    let mut written = bytes[..HEADER].to_vec();
    let mut exported = false;
    for section in sections(bytes) {
        match section.id {
            id::EXPORT => {
                write_extended(&mut written, id::EXPORT, section.payload, &entry);
                exported = true;
            }
            // Exports come right before the start section, so this is their place.
            id::START if !exported => {
                write_extended(&mut written, id::EXPORT, &[0], &entry);
            }
            id::START => {}
            _ => written.extend_from_slice(section.whole),
        }
    }
    written
}
