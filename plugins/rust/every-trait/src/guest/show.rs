//! Values as text: bytes as the characters that they are, so that log lines can be read.

use std::time::{Duration, SystemTime};

use proxy_wasm::types::{GrpcStatusCode, Status};

/// A value that can be shown.
pub(super) trait Show {
    fn show(&self) -> String;
}

impl Show for [u8] {
    fn show(&self) -> String {
        format!("\"{}\"", self.escape_ascii())
    }
}

impl Show for Vec<u8> {
    fn show(&self) -> String {
        self.as_slice().show()
    }
}

impl Show for str {
    fn show(&self) -> String {
        self.as_bytes().show()
    }
}

impl Show for String {
    fn show(&self) -> String {
        self.as_bytes().show()
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self) -> String {
        (**self).show()
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Show::show)
    }
}

impl<T: Show> Show for Result<T, Status> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|status| format!("{status:?}"), Show::show)
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self) -> String {
        format!("{}: {}", self.0.show(), self.1.show())
    }
}

impl Show for () {
    fn show(&self) -> String {
        "ok".to_owned()
    }
}

impl Show for SystemTime {
    fn show(&self) -> String {
        self.duration_since(SystemTime::UNIX_EPOCH).map_or_else(|_| "early".to_owned(), |since| since.show())
    }
}

impl Show for GrpcStatusCode {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// A list whose elements are no bytes.
macro_rules! lists {
    ($($element:ty),*) => {$(
        impl Show for Vec<$element> {
            fn show(&self) -> String {
                let elements: Vec<String> = self.iter().map(Show::show).collect();
                format!("[{}]", elements.join(", "))
            }
        }
    )*};
}

lists!(&str, (&str, &str), (&str, &[u8]), (String, String), (String, Vec<u8>));

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Show for $number {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers!(bool, u32, u64, i64, usize);

/// Logs what a host function that no trait wraps answered.
pub(super) fn told<T: Show>(what: &str, result: &T) {
    log::debug!("{what} = {}", result.show());
}
