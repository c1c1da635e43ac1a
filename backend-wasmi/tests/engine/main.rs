//! What is particular to wasmi: typed and untyped trampolines, fuel slices, start sections, limits, nesting.
#![allow(clippy::unwrap_used)]

mod calls;
mod deadlines;
mod fuel;
mod host;
mod limits;
mod start;
mod stops;
mod tables;
mod version;
