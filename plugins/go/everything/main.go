// Calls everything that the SDK has for HTTP and for plugins, and logs what comes back. Changes requests and responses
// by headers whose names begin with `x-every`, and else only as its configuration wishes.
//
// Configuration: words, each with or without =VALUE: `tick=MS` a timer that ends itself after the first tick, `shared`
// shared data, `queue` a queue, `metrics`, `foreign=NAME` a foreign function, `http_call=UPSTREAM` the request waits for
// an answer to `GET /called`, `reply=STATUS` the request is answered, `set_body` bodies are changed, `set_maps` headers
// and trailers are replaced as a whole, `done_later` the plugin is done with the tick after its end.
package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{}

func (*vm) OnVMStart(size int) types.OnVMStartStatus {
	proxywasm.LogInfof("OnVMStart(%d)", size)
	text, err := proxywasm.GetVMConfiguration()
	told("GetVMConfiguration", string(text), err)
	return types.OnVMStartStatusOK
}

func (*vm) NewPluginContext(id uint32) types.PluginContext {
	proxywasm.LogInfof("NewPluginContext(%d)", id)
	return &plugin{id: id}
}

// told logs what a host function answered.
func told(what string, value any, err error) {
	if err != nil {
		proxywasm.LogDebugf("%s: %v", what, err)
		return
	}
	switch value := value.(type) {
	case nil:
		proxywasm.LogDebugf("%s: ok", what)
	case []byte:
		proxywasm.LogDebugf("%s: %q", what, value)
	case string:
		proxywasm.LogDebugf("%s: %q", what, value)
	default:
		proxywasm.LogDebugf("%s: %v", what, value)
	}
}

// wishes are the words of the configuration.
type wishes map[string]string

func parse(text string) wishes {
	words := wishes{}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		words[name] = value
	}
	return words
}

func (w wishes) has(word string) bool {
	_, has := w[word]
	return has
}

func (w wishes) number(word string) (uint32, bool) {
	number, err := strconv.ParseUint(w[word], 10, 32)
	return uint32(number), err == nil
}

type plugin struct {
	id     uint32
	wishes wishes
	ended  bool
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	proxywasm.LogInfof("OnPluginStart(%d)", size)
	text, err := proxywasm.GetPluginConfiguration()
	told("GetPluginConfiguration", string(text), err)
	p.wishes = parse(string(text))
	property("plugin_root_id")
	if period, ok := p.wishes.number("tick"); ok {
		told("SetTickPeriodMilliSeconds", nil, proxywasm.SetTickPeriodMilliSeconds(period))
	}
	if p.wishes.has("queue") {
		_, err := proxywasm.ResolveSharedQueue("", "missing")
		told("ResolveSharedQueue(missing)", nil, err)
		_, err = proxywasm.RegisterSharedQueue("queue")
		told("RegisterSharedQueue", nil, err)
	}
	if name, ok := p.wishes["foreign"]; ok {
		result, err := proxywasm.CallForeignFunction(name, []byte("argument"))
		told("CallForeignFunction", result, err)
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnPluginDone() bool {
	proxywasm.LogInfo("OnPluginDone()")
	p.ended = true
	return !p.wishes.has("done_later")
}

func (p *plugin) OnQueueReady(queue uint32) {
	proxywasm.LogInfof("OnQueueReady(%d)", queue)
	for range 2 {
		message, err := proxywasm.DequeueSharedQueue(queue)
		told("DequeueSharedQueue", message, err)
	}
}

func (p *plugin) OnTick() {
	proxywasm.LogInfo("OnTick()")
	told("SetTickPeriodMilliSeconds", nil, proxywasm.SetTickPeriodMilliSeconds(0))
	if p.ended {
		proxywasm.PluginDone()
	}
}

// NewTcpContext is asked first; none means that streams are requests.
func (p *plugin) NewTcpContext(uint32) types.TcpContext { return nil }

func (p *plugin) NewHttpContext(id uint32) types.HttpContext {
	proxywasm.LogInfof("NewHttpContext(%d)", id)
	return &stream{id: id, plugin: p}
}

func property(path ...string) {
	value, err := proxywasm.GetProperty(path)
	told("GetProperty("+strings.Join(path, ".")+")", value, err)
}

// sharedData reads, sets, sets by CAS, and is refused for an old CAS.
func sharedData() {
	read := func() uint32 {
		value, cas, err := proxywasm.GetSharedData("key")
		told("GetSharedData", value, err)
		return cas
	}
	read()
	told("SetSharedData(one)", nil, proxywasm.SetSharedData("key", []byte("one"), 0))
	cas := read()
	told("SetSharedData(two)", nil, proxywasm.SetSharedData("key", []byte("two"), cas))
	told("SetSharedData(three)", nil, proxywasm.SetSharedData("key", []byte("three"), cas))
	read()
}

// stores uses the stores as it is wished. Only streams do this: a host may well start more of a plugin than it uses, and
// what is in the stores is common to all of them.
func (w wishes) stores() {
	if w.has("shared") {
		sharedData()
	}
	if w.has("queue") {
		queue()
	}
	if w.has("metrics") {
		metrics()
	}
}

// queue puts two messages into the queue, which wait until the host says that it is ready.
func queue() {
	id, err := proxywasm.ResolveSharedQueue("", "queue")
	told("ResolveSharedQueue", nil, err)
	message, err := proxywasm.DequeueSharedQueue(id)
	told("DequeueSharedQueue", message, err)
	for _, message := range []string{"first", "second"} {
		told("EnqueueSharedQueue", nil, proxywasm.EnqueueSharedQueue(id, []byte(message)))
	}
}

// metrics changes and reads a metric of each type. The SDK panics where the host has none.
func metrics() {
	counter := proxywasm.DefineCounterMetric("every_counter")
	counter.Increment(5)
	told("counter", counter.Value(), nil)
	gauge := proxywasm.DefineGaugeMetric("every_gauge")
	gauge.Add(7)
	gauge.Add(-2)
	told("gauge", gauge.Value(), nil)
	histogram := proxywasm.DefineHistogramMetric("every_histogram")
	histogram.Record(7)
}

type stream struct {
	id     uint32
	plugin *plugin
}

// each names the functions of one map.
type each struct {
	name    string
	all     func() ([][2]string, error)
	set     func([][2]string) error
	one     func(string) (string, error)
	replace func(string, string) error
	add     func(string, string) error
	remove  func(string) error
}

// change looks at a map and changes it by each of its functions.
func (s *stream) change(each each) {
	pairs, err := each.all()
	told(each.name, pairs, err)
	if s.plugin.wishes.has("set_maps") {
		told(each.name+" set", nil, each.set(append(pairs, [2]string{"x-every-map", "0"})))
	}
	told(each.name+" replace", nil, each.replace("x-every-set", "1"))
	told(each.name+" add", nil, each.add("x-every-add", "2"))
	told(each.name+" add", nil, each.add("x-every-add", "3"))
	told(each.name+" add", nil, each.add("x-every-gone", "4"))
	told(each.name+" remove", nil, each.remove("x-every-gone"))
	for _, name := range []string{"x-every-set", "x-every-add", "x-every-gone"} {
		value, err := each.one(name)
		told(each.name+" "+name, value, err)
	}
}

func (s *stream) OnHttpRequestHeaders(count int, end bool) types.Action {
	proxywasm.LogInfof("OnHttpRequestHeaders(%d, %t)", count, end)
	property("request", "path")
	told("SetProperty", nil, proxywasm.SetProperty([]string{"every"}, []byte("property")))
	property("every")
	s.change(each{"request headers", proxywasm.GetHttpRequestHeaders, proxywasm.ReplaceHttpRequestHeaders,
		proxywasm.GetHttpRequestHeader, proxywasm.ReplaceHttpRequestHeader, proxywasm.AddHttpRequestHeader,
		proxywasm.RemoveHttpRequestHeader})
	s.plugin.wishes.stores()
	if status, ok := s.plugin.wishes.number("reply"); ok {
		headers := [][2]string{{"x-every-reply", "1"}}
		told("SendHttpResponse", nil, proxywasm.SendHttpResponse(status, headers, []byte("reply"), -1))
		return types.ActionPause
	}
	if upstream, ok := s.plugin.wishes["http_call"]; ok {
		return s.call(upstream)
	}
	return types.ActionContinue
}

func (s *stream) call(upstream string) types.Action {
	headers := [][2]string{{":method", "GET"}, {":path", "/called"}, {":authority", "every"}, {"x-every", "call"}}
	trailers := [][2]string{{"x-end", "1"}}
	_, err := proxywasm.DispatchHttpCall(upstream, headers, []byte("question"), trailers, 1000, s.answered)
	told("DispatchHttpCall", nil, err)
	if err != nil {
		return types.ActionContinue
	}
	return types.ActionPause
}

// answered is called in the plugin's context.
func (s *stream) answered(headers, size, trailers int) {
	proxywasm.LogInfof("answered(%d, %d, %d)", headers, size, trailers)
	pairs, err := proxywasm.GetHttpCallResponseHeaders()
	told("GetHttpCallResponseHeaders", pairs, err)
	body, err := proxywasm.GetHttpCallResponseBody(0, size)
	told("GetHttpCallResponseBody", body, err)
	pairs, err = proxywasm.GetHttpCallResponseTrailers()
	told("GetHttpCallResponseTrailers", pairs, err)
	told("SetEffectiveContext", nil, proxywasm.SetEffectiveContext(s.id))
	told("ResumeHttpRequest", nil, proxywasm.ResumeHttpRequest())
}

// body looks at a body and changes it in each way, if that is wished.
func (s *stream) body(name string, size int, get func(int, int) ([]byte, error),
	replace, before, after func([]byte) error) types.Action {
	piece, err := get(0, size)
	told(name, piece, err)
	if s.plugin.wishes.has("set_body") {
		told(name+" replace", nil, replace([]byte(fmt.Sprintf("<%d>", size))))
		told(name+" prepend", nil, before([]byte("before")))
		told(name+" append", nil, after([]byte("after")))
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	proxywasm.LogInfof("OnHttpRequestBody(%d, %t)", size, end)
	return s.body("request body", size, proxywasm.GetHttpRequestBody, proxywasm.ReplaceHttpRequestBody,
		proxywasm.PrependHttpRequestBody, proxywasm.AppendHttpRequestBody)
}

func (s *stream) OnHttpRequestTrailers(count int) types.Action {
	proxywasm.LogInfof("OnHttpRequestTrailers(%d)", count)
	s.change(each{"request trailers", proxywasm.GetHttpRequestTrailers, proxywasm.ReplaceHttpRequestTrailers,
		proxywasm.GetHttpRequestTrailer, proxywasm.ReplaceHttpRequestTrailer, proxywasm.AddHttpRequestTrailer,
		proxywasm.RemoveHttpRequestTrailer})
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(count int, end bool) types.Action {
	proxywasm.LogInfof("OnHttpResponseHeaders(%d, %t)", count, end)
	property("response", "code")
	s.change(each{"response headers", proxywasm.GetHttpResponseHeaders, proxywasm.ReplaceHttpResponseHeaders,
		proxywasm.GetHttpResponseHeader, proxywasm.ReplaceHttpResponseHeader, proxywasm.AddHttpResponseHeader,
		proxywasm.RemoveHttpResponseHeader})
	told("ResumeHttpResponse", nil, proxywasm.ResumeHttpResponse())
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	proxywasm.LogInfof("OnHttpResponseBody(%d, %t)", size, end)
	return s.body("response body", size, proxywasm.GetHttpResponseBody, proxywasm.ReplaceHttpResponseBody,
		proxywasm.PrependHttpResponseBody, proxywasm.AppendHttpResponseBody)
}

func (s *stream) OnHttpResponseTrailers(count int) types.Action {
	proxywasm.LogInfof("OnHttpResponseTrailers(%d)", count)
	s.change(each{"response trailers", proxywasm.GetHttpResponseTrailers, proxywasm.ReplaceHttpResponseTrailers,
		proxywasm.GetHttpResponseTrailer, proxywasm.ReplaceHttpResponseTrailer, proxywasm.AddHttpResponseTrailer,
		proxywasm.RemoveHttpResponseTrailer})
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() {
	proxywasm.LogInfo("OnHttpStreamDone()")
}
