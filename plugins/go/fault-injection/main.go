// Answers requests itself, all or a share of them, so that they never reach the upstream.
//
// Configuration: {"http_status": 503, "body": "hello world", "percentage": 50}. Without a body the answer is empty,
// without a percentage every request is answered. Without configuration none is.
package main

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"plugins/internal/config"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type fault struct {
	Status     int    `json:"http_status"`
	Body       string `json:"body"`
	Percentage *int   `json:"percentage"`
}

func (f *fault) check() error {
	if f.Status == 0 {
		return errors.New("http_status is missing")
	}
	if f.Percentage != nil && (*f.Percentage < 0 || *f.Percentage > 100) {
		return fmt.Errorf("percentage is %d, not 0 to 100", *f.Percentage)
	}
	return config.CheckStatus("http_status", f.Status)
}

type plugin struct {
	types.DefaultPluginContext
	fault *fault
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	var wanted fault
	there, err := config.Read(&wanted)
	if there && err == nil {
		err = wanted.check()
		p.fault = &wanted
	}
	return config.Started(err)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{fault: p.fault}
}

type stream struct {
	types.DefaultHttpContext
	fault *fault
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	if s.fault == nil || !hit(s.fault.Percentage) {
		return types.ActionContinue
	}
	const noGrpcStatus = -1
	if err := proxywasm.SendHttpResponse(uint32(s.fault.Status), nil, []byte(s.fault.Body), noGrpcStatus); err != nil {
		proxywasm.LogError("cannot answer: " + err.Error())
		return types.ActionContinue
	}
	return types.ActionPause
}

func hit(percentage *int) bool {
	return percentage == nil || rand.IntN(100) < *percentage
}
