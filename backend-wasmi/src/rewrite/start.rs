//! The start section as an export. wasmi runs a start section while it makes the instance, in one go that nothing could
//! end.

use std::borrow::Cow;
use std::sync::Arc;

use chassis_engine_api::CheckedModule;

use super::{HEADER, sections, write_extended, write_u32};

const EXPORT: u8 = 7;
const START: u8 = 8;
const FUNCTION: u8 = 0;

/// The module without its start section, and the name under which its function is exported instead, which nothing
/// else in the module has; or the module as it is.
pub(super) fn as_export(module: &CheckedModule) -> (Cow<'_, [u8]>, Option<Arc<str>>) {
    let bytes = module.bytes();
    let Some(start) = sections(bytes).find(|section| section.id == START) else {
        return (Cow::Borrowed(bytes), None);
    };
    let mut name = String::from("start");
    while module.info().export(&name).is_some() {
        name.push('_');
    }
    (Cow::Owned(export(bytes, start.payload, &name)), Some(name.into()))
}

/// `function` is the payload of the start section: one function index.
fn export(bytes: &[u8], function: &[u8], name: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    write_u32(&mut entry, name.len());
    entry.extend_from_slice(name.as_bytes());
    entry.push(FUNCTION);
    entry.extend_from_slice(function);

    let mut written = bytes[..HEADER].to_vec();
    let mut exported = false;
    for section in sections(bytes) {
        match section.id {
            EXPORT => {
                write_extended(&mut written, EXPORT, section.payload, std::slice::from_ref(&entry));
                exported = true;
            }
            // Exports come right before the start section, so this is their place.
            START if !exported => write_extended(&mut written, EXPORT, &[0], std::slice::from_ref(&entry)),
            START => {}
            _ => written.extend_from_slice(section.whole),
        }
    }
    written
}
