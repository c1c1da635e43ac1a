// Replaces headers of the response. Never looks at a body.
//
// Configuration: {"headers": [{"name": "x-a", "value": "1"}]}. A header that the response does not have is added; one
// that it has several times is there once afterwards.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"plugins/internal/config"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
	headers []config.Header
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	var wanted struct {
		Headers []config.Header `json:"headers"`
	}
	_, err := config.Read(&wanted)
	if err == nil {
		err = config.CheckHeaders(wanted.Headers)
	}
	p.headers = wanted.Headers
	return config.Started(err)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	config.Replace(s.plugin.headers)
	return types.ActionContinue
}
