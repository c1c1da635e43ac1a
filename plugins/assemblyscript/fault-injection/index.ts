// Answers every request with status 403 and the bytes of the configuration as the body, so that none reaches the
// upstream.

export * from "@solo-io/proxy-runtime/proxy";
import {
  Context, FilterHeadersStatusValues, GrpcStatusValues, LogLevelValues, RootContext, WasmResultValues, log,
  registerRootContext, send_local_response
} from "@solo-io/proxy-runtime";
import { proxy_get_buffer_bytes } from "@solo-io/proxy-runtime/imports";
import { free } from "@solo-io/proxy-runtime/malloc";

const STATUS: u32 = 403;
const PLUGIN_CONFIGURATION: u32 = 7;

/** Where the host says what it gave. */
class Given {
  pointer: usize = 0;
  size: usize = 0;
}

class FaultInjection extends RootContext {
  body: ArrayBuffer = new ArrayBuffer(0);

  // The SDK's own takes the configuration's size for the address of the size, so that it finds nothing, or nothing
  // but a null pointer, unless the property that it had read before happened to leave a size behind.
  onConfigure(size: u32): bool {
    if (size == 0) {
      return true;
    }
    const given = new Given();
    const at = changetype<usize>(given);
    const result = proxy_get_buffer_bytes(
      PLUGIN_CONFIGURATION, 0, size, at + offsetof<Given>("pointer"), at + offsetof<Given>("size"));
    if (result != WasmResultValues.Ok) {
      log(LogLevelValues.error, "cannot read the configuration: status " + result.toString());
      return false;
    }
    if (given.size != 0) {
      this.body = changetype<ArrayBuffer>(given.pointer).slice(0, given.size as i32);
      free(given.pointer);
    }
    return true;
  }

  createContext(context_id: u32): Context {
    return new Fault(context_id, this);
  }
}

class Fault extends Context {
  constructor(context_id: u32, root_context: FaultInjection) {
    super(context_id, root_context);
  }

  onRequestHeaders(headers: u32, end_of_stream: bool): FilterHeadersStatusValues {
    const body = (this.root_context as FaultInjection).body;
    const result = send_local_response(STATUS, "", body, [], GrpcStatusValues.InvalidCode);
    if (result != WasmResultValues.Ok) {
      log(LogLevelValues.error, "cannot answer: status " + result.toString());
      return FilterHeadersStatusValues.Continue;
    }
    return FilterHeadersStatusValues.StopIteration;
  }
}

// The name is what the host calls the root context; a host that has no name for it says the empty one.
registerRootContext((context_id: u32) => new FaultInjection(context_id), "");
registerRootContext((context_id: u32) => new FaultInjection(context_id), "fault-injection");
