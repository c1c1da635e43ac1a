// Changes status, headers and body of the response, each only if the configuration names it.
//
// Configuration: {"status": 404, "headers": [{"name": "x-a", "value": "1"}], "body": "gone"}. Headers are replaced; one
// that the response does not have is added. The body takes the place of the response's; a response without a body gets
// none, as there is no call that would add one.
package main

import (
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"plugins/internal/config"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type rewrite struct {
	Status  *int            `json:"status"`
	Headers []config.Header `json:"headers"`
	Body    *string         `json:"body"`
}

func (r *rewrite) check() error {
	if r.Status != nil {
		if err := config.CheckStatus("status", *r.Status); err != nil {
			return err
		}
	}
	return config.CheckHeaders(r.Headers)
}

type plugin struct {
	types.DefaultPluginContext
	rewrite rewrite
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	_, err := config.Read(&p.rewrite)
	if err == nil {
		err = p.rewrite.check()
	}
	return config.Started(err)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{rewrite: &p.rewrite}
}

type stream struct {
	types.DefaultHttpContext
	rewrite *rewrite
	// The new body was handed over, so what still comes of the old one is dropped.
	done bool
}

func (s *stream) OnHttpResponseHeaders(_ int, endOfStream bool) types.Action {
	if s.rewrite.Status != nil {
		config.Replace([]config.Header{{Name: ":status", Value: strconv.Itoa(*s.rewrite.Status)}})
	}
	if s.rewrite.Body != nil && !endOfStream {
		s.announceBody()
	}
	config.Replace(s.rewrite.Headers)
	return types.ActionContinue
}

// announceBody removes what described the old body. APISIX hands bodies only to those that ask for them by a property;
// a host that has no such property refuses it, which is no matter.
func (s *stream) announceBody() {
	for _, name := range []string{"content-length", "content-encoding"} {
		if err := proxywasm.RemoveHttpResponseHeader(name); err != nil {
			proxywasm.LogError("cannot remove " + name + ": " + err.Error())
		}
	}
	_ = proxywasm.SetProperty([]string{"wasm_process_resp_body"}, []byte("true"))
}

func (s *stream) OnHttpResponseBody(int, bool) types.Action {
	if s.rewrite.Body == nil {
		return types.ActionContinue
	}
	piece := *s.rewrite.Body
	if s.done {
		piece = ""
	}
	s.done = true
	if err := proxywasm.ReplaceHttpResponseBody([]byte(piece)); err != nil {
		proxywasm.LogError("cannot replace the body: " + err.Error())
	}
	return types.ActionContinue
}
