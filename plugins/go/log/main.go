// Logs its configuration and the contexts' ids at level warn for each request, and the plugin's end at level info.
// Never changes a request.
package main

import (
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"plugins/internal/config"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(id uint32) types.PluginContext { return &plugin{id: id} })
}

type plugin struct {
	types.DefaultPluginContext
	id   uint32
	text string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := config.Text()
	p.text = text
	return config.Started(err)
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext {
	return &stream{plugin: p, id: id}
}

func (p *plugin) OnPluginDone() bool {
	proxywasm.LogInfo("do clean up...")
	return true
}

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	proxywasm.LogWarn(fmt.Sprintf("run plugin ctx %d with conf %s in http ctx %d", s.plugin.id, s.plugin.text, s.id))
	return types.ActionContinue
}
