//! Overrides of methods that wrap a host function.

/// Methods that do what those of the SDK do, and log it. `$call` is the host function, as the SDK wraps it.
macro_rules! logged {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $call:expr;)*) => {$(
        fn $name(&self, $($argument: $type),*) $(-> $result)? {
            let given: Vec<String> = vec![$($crate::guest::show::Show::show(&$argument)),*];
            let result = $call;
            log::debug!("{}({}) = {}", stringify!($name), given.join(", "), $crate::guest::show::Show::show(&result));
            result
        }
    )*};
}
