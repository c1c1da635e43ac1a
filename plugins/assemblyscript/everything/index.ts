// Calls everything that the SDK has, and logs what comes back. Changes requests and responses by headers whose names
// begin with `x-every`, and else only as its configuration wishes.
//
// Configuration: words, each with or without =VALUE: `tick=MS` a timer that ends itself after the first tick, `shared`
// shared data, `queue` a queue, `metrics`, `http_call=UPSTREAM` the request waits for an answer to `GET /called`,
// `reply=STATUS` the request is answered, `done_later` the plugin is done with the tick after its end. Maps are not
// replaced as a whole: what the SDK has for that its compiler refuses.

export * from "@solo-io/proxy-runtime/proxy";
import {
  BaseContext, Context, Counter, FilterDataStatusValues, FilterHeadersStatusValues, FilterTrailersStatusValues, Gauge,
  GrpcStatusValues, HeaderPair, Headers, Histogram, LogLevelValues, RootContext, WasmResultValues, continue_response,
  log, registerRootContext, send_local_response, stream_context
} from "@solo-io/proxy-runtime";
import {
  BufferTypeValues, HeaderMapTypeValues, done, enqueue_shared_queue, get_buffer_bytes,
  get_buffer_status, get_current_time_nanoseconds, get_header_map_size, get_property, register_shared_queue,
  resolve_shared_queue, set_property, set_tick_period_milliseconds
} from "@solo-io/proxy-runtime/runtime";
import {
  proxy_dequeue_shared_queue, proxy_get_buffer_bytes, proxy_get_metric, proxy_get_shared_data, proxy_set_shared_data
} from "@solo-io/proxy-runtime/imports";

/** Where the host says what it gave. */
class Given {
  pointer: usize = 0;
  size: usize = 0;
  number: u32 = 0;
  value: u64 = 0;

  at(offset: usize): usize {
    return changetype<usize>(this) + offset;
  }

  text(): string {
    return this.size == 0 ? "" : String.UTF8.decodeUnsafe(this.pointer, this.size);
  }
}

function say(text: string): void {
  log(LogLevelValues.info, text);
}

function told(what: string, answer: string): void {
  log(LogLevelValues.warn, what + ": " + answer);
}

function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function text(bytes: ArrayBuffer): string {
  return String.UTF8.decode(bytes);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(utf8(name), utf8(value));
}

function lines(pairs: Headers): string {
  let all = "";
  for (let i = 0; i < pairs.length; i++) {
    all += (i == 0 ? "" : ", ") + text(pairs[i].key) + "=" + text(pairs[i].value);
  }
  return all;
}

class Everything extends RootContext {
  words: string[] = [];
  ended: bool = false;

  /** What stands behind a word; null if it is not there. */
  wish(name: string): string | null {
    for (let i = 0; i < this.words.length; i++) {
      const word = this.words[i];
      if (word == name) {
        return "";
      }
      if (word.startsWith(name + "=")) {
        return word.substring(name.length + 1);
      }
    }
    return null;
  }

  onStart(size: usize): bool {
    say("onStart(" + size.toString() + ")");
    return true;
  }

  // The SDK's own takes the configuration's size for the address of the size.
  onConfigure(size: u32): bool {
    say("onConfigure(" + size.toString() + ")");
    const given = new Given();
    if (size != 0) {
      proxy_get_buffer_bytes(BufferTypeValues.PluginConfiguration, 0, size, given.at(offsetof<Given>("pointer")),
        given.at(offsetof<Given>("size")));
    }
    this.words = given.text().split(" ");
    told("words", this.words.length.toString());
    told("time has begun", (get_current_time_nanoseconds() != 0).toString());
    told("plugin_root_id", text(get_property("plugin_root_id")));
    const tick = this.wish("tick");
    if (tick !== null) {
      set_tick_period_milliseconds(u32(parseInt(tick)));
    }
    if (this.wish("queue") !== null) {
      const number = u32(given.at(offsetof<Given>("number")));
      told("resolve_shared_queue missing", resolve_shared_queue("", "missing", number).toString());
      told("register_shared_queue", register_shared_queue("queue", number).toString());
    }
    return true;
  }

  onTick(): void {
    say("onTick()");
    set_tick_period_milliseconds(0);
    if (this.ended) {
      told("done", done().toString());
    }
  }

  onQueueReady(token: u32): void {
    say("onQueueReady(" + token.toString() + ")");
    for (let i = 0; i < 2; i++) {
      dequeue(token);
    }
  }

  onDone(): bool {
    say("onDone()");
    this.ended = true;
    return this.wish("done_later") === null;
  }

  createContext(context_id: u32): Context {
    say("createContext(" + context_id.toString() + ")");
    return new Stream(context_id, this);
  }
}

function getShared(): u32 {
  const key = utf8("key");
  const given = new Given();
  const result = proxy_get_shared_data(changetype<usize>(key), key.byteLength, given.at(offsetof<Given>("pointer")),
    given.at(offsetof<Given>("size")), given.at(offsetof<Given>("number")));
  told("get_shared_data", result.toString() + " " + given.text());
  return given.number;
}

function setShared(value: string, cas: u32): void {
  const key = utf8("key");
  const bytes = utf8(value);
  const result = proxy_set_shared_data(changetype<usize>(key), key.byteLength, changetype<usize>(bytes),
    bytes.byteLength, cas);
  told("set_shared_data " + value, result.toString());
}

// What the SDK wraps these in has no place for a value that is read, nor for a CAS.
function sharedData(): void {
  getShared();
  setShared("one", 0);
  const cas = getShared();
  setShared("two", cas);
  setShared("three", cas);
  getShared();
}

// What the SDK wraps it in, the compiler refuses.
function dequeue(token: u32): void {
  const given = new Given();
  const result = proxy_dequeue_shared_queue(token, given.at(offsetof<Given>("pointer")),
    given.at(offsetof<Given>("size")));
  told("dequeue_shared_queue", result.toString() + " " + given.text());
}

/** Puts two messages into the queue, which wait until the host says that it is ready. */
function queue(): void {
  const given = new Given();
  const number = u32(given.at(offsetof<Given>("number")));
  told("resolve_shared_queue", resolve_shared_queue("", "queue", number).toString());
  dequeue(given.number);
  told("enqueue_shared_queue", enqueue_shared_queue(given.number, utf8("first")).toString());
  told("enqueue_shared_queue", enqueue_shared_queue(given.number, utf8("second")).toString());
}

// The SDK's own records where it should get.
function metric(id: u32): string {
  const given = new Given();
  const result = proxy_get_metric(id, given.at(offsetof<Given>("value")));
  return result.toString() + " " + given.value.toString();
}

function metrics(): void {
  const counter = new Counter("every_counter");
  told("counter increment", counter.increment(5).toString());
  told("counter", metric(counter.metric_id));
  const gauge = new Gauge("every_gauge");
  told("gauge record", gauge.record(gauge.metric_id, 7).toString());
  told("gauge increment", gauge.increment(-2).toString());
  told("gauge", metric(gauge.metric_id));
  const histogram = new Histogram("every_histogram");
  told("histogram record", histogram.record(histogram.metric_id, 7).toString());
}

class Stream extends Context {
  constructor(context_id: u32, root_context: Everything) {
    super(context_id, root_context);
  }

  wish(name: string): string | null {
    return (this.root_context as Everything).wish(name);
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    say("onRequestHeaders(" + count.toString() + ", " + end.toString() + ")");
    told("request\0path", text(get_property("request\0path")));
    told("set_property", set_property("every", utf8("property")).toString());
    told("every", text(get_property("every")));
    told("size", get_header_map_size(HeaderMapTypeValues.RequestHeaders).toString());
    const headers = stream_context.headers.request;
    const pairs = headers.get_headers();
    told("headers", lines(pairs));
    headers.replace("x-every-set", "1");
    headers.add("x-every-add", "2");
    headers.add("x-every-add", "3");
    headers.add("x-every-gone", "4");
    headers.remove("x-every-gone");
    told("x-every-set", headers.get("x-every-set"));
    told("x-every-add", headers.get("x-every-add"));
    told("x-every-gone", headers.get("x-every-gone"));
    this.stores();
    const status = this.wish("reply");
    if (status !== null) {
      const result = send_local_response(u32(parseInt(status)), "every", utf8("reply"), [pair("x-every-reply", "1")],
        GrpcStatusValues.InvalidCode);
      told("send_local_response", result.toString());
      return FilterHeadersStatusValues.StopIteration;
    }
    const upstream = this.wish("http_call");
    if (upstream !== null && this.call(upstream)) {
      return FilterHeadersStatusValues.StopIteration;
    }
    return FilterHeadersStatusValues.Continue;
  }

  // Only streams do this: a host may well start more of a plugin than it uses, and what is in the stores is common to
  // all of them.
  stores(): void {
    if (this.wish("shared") !== null) {
      sharedData();
    }
    if (this.wish("queue") !== null) {
      queue();
    }
    if (this.wish("metrics") !== null) {
      metrics();
    }
  }

  call(upstream: string): bool {
    const headers = [pair(":method", "GET"), pair(":path", "/called"), pair(":authority", "every"),
      pair("x-every", "call")];
    const result = this.root_context.httpCall(upstream, headers, utf8("question"), [pair("x-end", "1")], 1000, this,
      (origin: BaseContext, headers: u32, size: usize, trailers: u32) => {
        say("answered(" + headers.toString() + ", " + size.toString() + ", " + trailers.toString() + ")");
        told("headers", lines(stream_context.headers.http_callback.get_headers()));
        told("body", text(get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, u32(size))));
        told("trailers", lines(stream_context.trailers.http_callback.get_headers()));
        origin.continueRequest();
      });
    told("httpCall", result.toString());
    return result == WasmResultValues.Ok;
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    say("onRequestBody(" + size.toString() + ", " + end.toString() + ")");
    told("body", text(get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, u32(size))));
    told("length", get_buffer_status(BufferTypeValues.HttpRequestBody).length.toString());
    return FilterDataStatusValues.Continue;
  }

  onRequestTrailers(count: u32): FilterTrailersStatusValues {
    say("onRequestTrailers(" + count.toString() + ")");
    const trailers = stream_context.trailers.request;
    told("trailers", lines(trailers.get_headers()));
    trailers.add("x-every-add", "1");
    return FilterTrailersStatusValues.Continue;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    say("onResponseHeaders(" + count.toString() + ", " + end.toString() + ")");
    const headers = stream_context.headers.response;
    told("headers", lines(headers.get_headers()));
    headers.replace("x-every-set", "1");
    headers.add("x-every-add", "2");
    headers.add("x-every-gone", "3");
    headers.remove("x-every-gone");
    told("x-every-set", headers.get("x-every-set"));
    told("continue_response", continue_response().toString());
    return FilterHeadersStatusValues.Continue;
  }

  onResponseBody(size: usize, end: bool): FilterDataStatusValues {
    say("onResponseBody(" + size.toString() + ", " + end.toString() + ")");
    told("body", text(get_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, u32(size))));
    return FilterDataStatusValues.Continue;
  }

  onResponseTrailers(count: u32): FilterTrailersStatusValues {
    say("onResponseTrailers(" + count.toString() + ")");
    const trailers = stream_context.trailers.response;
    told("trailers", lines(trailers.get_headers()));
    trailers.add("x-every-add", "1");
    return FilterTrailersStatusValues.Continue;
  }

  onDone(): bool {
    say("onDone()");
    return true;
  }

  onLog(): void {
    say("onLog()");
  }
}

// The name is what the host calls the root context; a host that has no name for it says the empty one.
registerRootContext((context_id: u32) => new Everything(context_id), "");
registerRootContext((context_id: u32) => new Everything(context_id), "everything");
