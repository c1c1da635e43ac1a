//! What a guest may export for the host to call.

use chassis_engine_api::{Export, ExportSpec, Sig, Ty};

const NONE: Sig = Sig::new(&[], None);
const I_I: Sig = Sig::new(&[Ty::I32], Some(Ty::I32));
const I: Sig = Sig::new(&[Ty::I32], None);
const II: Sig = Sig::new(&[Ty::I32; 2], None);
const III: Sig = Sig::new(&[Ty::I32; 3], None);
const IIIII: Sig = Sig::new(&[Ty::I32; 5], None);
const II_I: Sig = Sig::new(&[Ty::I32; 2], Some(Ty::I32));
const III_I: Sig = Sig::new(&[Ty::I32; 3], Some(Ty::I32));
const NONE_I: Sig = Sig::new(&[], Some(Ty::I32));

macro_rules! callbacks {
    ($($variant:ident $name:literal [$($sig:ident),+] $doc:literal;)*) => {
        /// An export that the host calls. Where versions differ in its type, the one that the module has is called.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Callback { $(#[doc = $doc] $variant,)* }

        /// Every callback, in the order of the ABI.
        pub const CALLBACKS: &[Callback] = &[$(Callback::$variant,)*];

        impl Callback {
            /// The export's name.
            pub const fn name(self) -> &'static str {
                match self { $(Callback::$variant => $name,)* }
            }

            /// When it is called.
            pub fn doc(self) -> &'static str {
                match self { $(Callback::$variant => $doc,)* }
            }

            /// Its types, the one of the latest version first.
            pub const fn sigs(self) -> &'static [Sig] {
                match self { $(Callback::$variant => &[$($sig),+],)* }
            }
        }
    };
}

callbacks! {
    Initialize "_initialize" [NONE] "Start function of a reactor; runs once, before anything else.";
    Main "main" [II_I] "Runs after `_initialize`, with (0, 0).";
    Start "_start" [NONE] "Start function of a command; runs only if there is no `_initialize`.";
    MemoryAllocate "proxy_on_memory_allocate" [I_I] "Gives memory for what a host call returns.";
    Malloc "malloc" [I_I] "Allocator of older SDKs, used if there is no `proxy_on_memory_allocate`.";
    ContextCreate "proxy_on_context_create" [II] "A context begins: a plugin context (parent 0) or a stream context.";
    VmStart "proxy_on_vm_start" [II_I] "The VM starts, with the size of its configuration.";
    ValidateConfiguration "proxy_validate_configuration" [II_I] "The configuration is to be judged, not used.";
    Configure "proxy_on_configure" [II_I] "A plugin context gets its configuration, of this size.";
    Tick "proxy_on_tick" [I] "The timer of a plugin context went off.";
    NewConnection "proxy_on_new_connection" [I_I] "A TCP connection begins.";
    DownstreamData "proxy_on_downstream_data" [III_I] "Data came from the client of a TCP stream.";
    UpstreamData "proxy_on_upstream_data" [III_I] "Data came from the upstream of a TCP stream.";
    DownstreamConnectionClose "proxy_on_downstream_connection_close" [II] "The client's connection of a TCP stream ended.";
    UpstreamConnectionClose "proxy_on_upstream_connection_close" [II] "The upstream's connection of a TCP stream ended.";
    RequestHeaders "proxy_on_request_headers" [III_I, II_I] "The request's headers came.";
    RequestBody "proxy_on_request_body" [III_I] "A part of the request's body came.";
    RequestTrailers "proxy_on_request_trailers" [II_I] "The request's trailers came.";
    RequestMetadata "proxy_on_request_metadata" [II_I] "HTTP/2 metadata came with the request.";
    ResponseHeaders "proxy_on_response_headers" [III_I, II_I] "The response's headers came.";
    ResponseBody "proxy_on_response_body" [III_I] "A part of the response's body came.";
    ResponseTrailers "proxy_on_response_trailers" [II_I] "The response's trailers came.";
    ResponseMetadata "proxy_on_response_metadata" [II_I] "HTTP/2 metadata came with the response.";
    HttpCallResponse "proxy_on_http_call_response" [IIIII] "An HTTP callout was answered or failed.";
    GrpcReceiveInitialMetadata "proxy_on_grpc_receive_initial_metadata" [III] "Initial metadata of a gRPC call came.";
    GrpcReceive "proxy_on_grpc_receive" [III] "A gRPC message came.";
    GrpcReceiveTrailingMetadata "proxy_on_grpc_receive_trailing_metadata" [III] "Trailing metadata of a gRPC call came.";
    GrpcClose "proxy_on_grpc_close" [III] "A gRPC call ended.";
    QueueReady "proxy_on_queue_ready" [II] "A queue has an item.";
    ForeignFunction "proxy_on_foreign_function" [III] "A foreign function calls back.";
    Done "proxy_on_done" [I_I] "A context is about to end; a plugin context may defer it.";
    Log "proxy_on_log" [I] "A stream has ended and can be logged.";
    Delete "proxy_on_delete" [I] "A context ends; the last call for it.";
    MainVoid "__main_void" [NONE_I] "What `main` is called in some builds.";
}

/// The list of exports by which engines give handles: each callback with each of its types.
pub static EXPORTS: &[ExportSpec] = &LIST;

/// The most slots that a call of any of them needs.
pub(crate) const SLOTS: usize = {
    let (mut most, mut i) = (0, 0);
    while i < LEN {
        let slots = LIST[i].sig.slots();
        most = if slots > most { slots } else { most };
        i += 1;
    }
    most
};

impl Callback {
    /// Whether it has a result, of whichever type it is.
    #[inline]
    pub(crate) const fn has_result(self) -> bool {
        WITH_RESULT >> self as u64 & 1 == 1
    }

    /// The handle under which this callback's `type_index`-th type is listed in [`EXPORTS`].
    pub(crate) const fn handle(self, type_index: usize) -> Export {
        handle(self, type_index)
    }
}

/// The callbacks with two types; their second ones follow at the end of the list.
const SECOND: [Callback; 2] = [Callback::RequestHeaders, Callback::ResponseHeaders];
const LEN: usize = CALLBACKS.len() + SECOND.len();

const LIST: [ExportSpec; LEN] = {
    let mut list = [ExportSpec { name: "", sig: NONE }; LEN];
    let mut i = 0;
    while i < LEN {
        let (callback, sig) = if i < CALLBACKS.len() { (CALLBACKS[i], 0) } else { (SECOND[i - CALLBACKS.len()], 1) };
        list[i] = ExportSpec { name: callback.name(), sig: callback.sigs()[sig] };
        i += 1;
    }
    list
};

/// A bit for each callback with a result.
const WITH_RESULT: u64 = {
    assert!(CALLBACKS.len() <= 64, "one bit each");
    let (mut bits, mut i) = (0, 0);
    while i < CALLBACKS.len() {
        bits |= (CALLBACKS[i].sigs()[0].result.is_some() as u64) << i;
        i += 1;
    }
    bits
};

const fn handle(callback: Callback, type_index: usize) -> Export {
    Export(HANDLES[callback as usize][type_index])
}

/// By callback: where its types are in the list; where there is only one, that one twice.
const HANDLES: [[u8; 2]; CALLBACKS.len()] = {
    let mut handles = [[0; 2]; CALLBACKS.len()];
    let mut i = 0;
    while i < CALLBACKS.len() {
        handles[i] = [i as u8; 2];
        i += 1;
    }
    let mut i = 0;
    while i < SECOND.len() {
        handles[SECOND[i] as usize][1] = (CALLBACKS.len() + i) as u8;
        i += 1;
    }
    handles
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_every_callback_has_its_handle() {
        for callback in CALLBACKS {
            for (i, sig) in callback.sigs().iter().enumerate() {
                let spec = EXPORTS[usize::from(callback.handle(i).0)];
                assert_eq!((spec.name, spec.sig), (callback.name(), *sig));
                assert_eq!(sig.result.is_some(), callback.has_result(), "{}", callback.name());
            }
        }
        let types: usize = CALLBACKS.iter().map(|callback| callback.sigs().len()).sum();
        assert_eq!(types, EXPORTS.len());
    }
}
