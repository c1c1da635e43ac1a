// Guards a protocol of lines over TCP: shows the upstream whole lines, ends a connection that sends a refused one, and
// puts a banner before what the upstream says first. Never changes a line that it lets pass.
//
// Configuration: {"refuse": "QUIT", "banner": "hello\n"}. Each may be left out.
package main

import (
	"bytes"
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"plugins/internal/config"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type guard struct {
	Refuse string `json:"refuse"`
	Banner string `json:"banner"`
}

type plugin struct {
	types.DefaultPluginContext
	guard guard
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	_, err := config.Read(&p.guard)
	return config.Started(err)
}

func (p *plugin) NewTcpContext(uint32) types.TcpContext {
	return &stream{guard: &p.guard}
}

type stream struct {
	types.DefaultTcpContext
	guard *guard
	// How many bytes passed, each way.
	up, down int
	greeted  bool
}

func (s *stream) OnNewConnection() types.Action {
	address, err := proxywasm.GetProperty([]string{"source", "address"})
	if err != nil {
		proxywasm.LogWarn("the client's address is not known: " + err.Error())
	}
	proxywasm.LogInfo("connection from " + string(address))
	return types.ActionContinue
}

func (s *stream) OnDownstreamData(size int, endOfStream bool) types.Action {
	if size == 0 {
		return types.ActionContinue
	}
	data, err := proxywasm.GetDownstreamData(0, size)
	if err != nil {
		return s.fail("read what came", err)
	}
	whole := bytes.HasSuffix(data, []byte("\n"))
	if !whole && !endOfStream {
		return types.ActionPause
	}
	for _, line := range bytes.Split(data, []byte("\n")) {
		if s.guard.Refuse != "" && string(bytes.TrimSuffix(line, []byte("\r"))) == s.guard.Refuse {
			return s.refuse()
		}
	}
	s.up += len(data)
	return types.ActionContinue
}

func (s *stream) refuse() types.Action {
	proxywasm.LogWarn("refused: " + s.guard.Refuse)
	if err := proxywasm.CloseDownstream(); err != nil {
		return s.fail("close the connection", err)
	}
	return types.ActionPause
}

func (s *stream) OnUpstreamData(size int, _ bool) types.Action {
	s.down += size
	if s.greeted || s.guard.Banner == "" {
		return types.ActionContinue
	}
	s.greeted = true
	if err := proxywasm.PrependUpstreamData([]byte(s.guard.Banner)); err != nil {
		return s.fail("add the banner", err)
	}
	return types.ActionContinue
}

// fail holds back what cannot be judged.
func (s *stream) fail(what string, err error) types.Action {
	proxywasm.LogError("cannot " + what + ": " + err.Error())
	return types.ActionPause
}

func (s *stream) OnDownstreamClose(peer types.PeerType) {
	proxywasm.LogInfo("the client's connection was closed by " + name(peer))
}

func (s *stream) OnUpstreamClose(peer types.PeerType) {
	proxywasm.LogInfo("the upstream's connection was closed by " + name(peer))
}

func (s *stream) OnStreamDone() {
	proxywasm.LogInfo(fmt.Sprintf("%d bytes to the upstream, %d from it", s.up, s.down))
}

func name(peer types.PeerType) string {
	switch peer {
	case types.PeerTypeLocal:
		return "the proxy"
	case types.PeerTypeRemote:
		return "the other end"
	default:
		return "somebody"
	}
}
