// Answers every request with status 200 and its configuration as the body, read by the SDK's own means: the root context
// registers under a name, and its `onConfigure` is that of the SDK.

export * from "@solo-io/proxy-runtime/proxy";
import {
  Context, FilterHeadersStatusValues, GrpcStatusValues, RootContext, registerRootContext, send_local_response
} from "@solo-io/proxy-runtime";

class Configured extends RootContext {
  createContext(context_id: u32): Context {
    return new Answer(context_id, this);
  }
}

class Answer extends Context {
  constructor(context_id: u32, root_context: Configured) {
    super(context_id, root_context);
  }

  onRequestHeaders(headers: u32, end_of_stream: bool): FilterHeadersStatusValues {
    const body = "configuration: " + (this.root_context as Configured).getConfiguration();
    send_local_response(200, "", String.UTF8.encode(body), [], GrpcStatusValues.InvalidCode);
    return FilterHeadersStatusValues.StopIteration;
  }
}

registerRootContext((context_id: u32) => new Configured(context_id), "configuration");
