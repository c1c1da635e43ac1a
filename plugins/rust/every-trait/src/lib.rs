//! Overrides every method of the traits of the SDK once: callbacks log their arguments and call what belongs to them,
//! and what wraps a host function logs what it was given and what came back. Changes requests and responses by headers
//! whose names begin with `x-every`, and else only as its configuration wishes.
//!
//! Configuration: words, each with or without `=VALUE`.
//!
//! | word | effect |
//! |---|---|
//! | `tcp` | its streams are connections, not requests |
//! | `tick=MS` | a timer, which ends itself after the first tick |
//! | `shared` | shared data are read, set, set again by their CAS and removed |
//! | `queue` | a queue is made, found and given two messages, which are taken when it is ready |
//! | `metrics` | a metric of each type is defined, changed and read |
//! | `foreign=NAME` | a foreign function is called with the argument `argument` |
//! | `http_call=UPSTREAM` | the request waits for an answer to `GET /called` |
//! | `grpc_call=UPSTREAM`, `grpc_stream=UPSTREAM` | the same with gRPC, method `Say` of service `test.Echo` |
//! | `grpc_cancel=UPSTREAM` | a call and a stream are begun and cancelled |
//! | `reply=STATUS`, `grpc_reply=STATUS` | the request is answered |
//! | `late_reply=STATUS` | the response is answered in its place |
//! | `reset_request`, `reset_response` | the stream is reset |
//! | `close_downstream`, `close_upstream` | the connection is closed when data come |
//! | `set_body`, `set_data` | bodies, or data, are replaced |
//! | `set_maps` | headers and trailers are replaced as a whole |
//! | `done_later` | the plugin is done with the tick after its end |

#[cfg(not(test))]
mod guest;
mod wishes;
