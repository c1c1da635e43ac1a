// A web application firewall: Coraza with the OWASP core rule set, both unmodified.
//
// Requests are judged by their headers and, if the rules look at bodies, by their whole body, before that goes
// upstream; responses likewise. What a rule refuses is answered with that rule's status. A response whose headers have
// already left is cut down to nothing, as that is all that is left to do.
//
// Configuration: {"directives": ["SecRuleEngine DetectionOnly"]}, directives that are added after the default ones; a
// member "default": false leaves those out, so that `directives` are all there is. Without configuration the core rule
// set is in force as its authors recommend it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	waf "github.com/corazawaf/coraza/v3/types"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// A reactor's main is never called.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

// An audit log would be a file, and what it would hold is logged anyhow.
var defaults = []string{
	"Include @coraza.conf-recommended",
	"Include @crs-setup.conf.example",
	"SecRuleEngine On",
	"SecAuditEngine Off",
	"Include @owasp_crs/*.conf",
}

type configuration struct {
	Default    *bool    `json:"default"`
	Directives []string `json:"directives"`
}

func (c *configuration) text() string {
	directives := c.Directives
	if c.Default == nil || *c.Default {
		directives = append(append([]string{}, defaults...), directives...)
	}
	return strings.Join(directives, "\n")
}

type plugin struct {
	types.DefaultPluginContext
	waf coraza.WAF
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configured, err := read()
	if err == nil {
		rules := coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithErrorCallback(logMatch)
		p.waf, err = coraza.NewWAF(rules.WithDirectives(configured.text()))
	}
	if err != nil {
		proxywasm.LogError("invalid configuration: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func read() (*configuration, error) {
	configured := &configuration{}
	text, err := proxywasm.GetPluginConfiguration()
	if errors.Is(err, types.ErrorStatusNotFound) || err == nil && len(text) == 0 {
		return configured, nil
	}
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return configured, decoder.Decode(configured)
}

func logMatch(rule waf.MatchedRule) {
	switch message := rule.ErrorLog(); rule.Rule().Severity() {
	case waf.RuleSeverityEmergency, waf.RuleSeverityAlert, waf.RuleSeverityCritical:
		proxywasm.LogCritical(message)
	case waf.RuleSeverityError:
		proxywasm.LogError(message)
	case waf.RuleSeverityWarning:
		proxywasm.LogWarn(message)
	default:
		proxywasm.LogInfo(message)
	}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{transaction: p.waf.NewTransaction()}
}

type stream struct {
	types.DefaultHttpContext
	transaction waf.Transaction
	// The plugin answered the request itself, so there is nothing more to judge.
	refused bool
	// How much of a body that is held back was judged.
	read int
}

func (s *stream) OnHttpRequestHeaders(_ int, endOfStream bool) types.Action {
	transaction := s.transaction
	client, clientPort := peer("source")
	server, serverPort := peer("destination")
	transaction.ProcessConnection(client, clientPort, server, serverPort)
	method, path, host := requestHeader(":method"), requestHeader(":path"), requestHeader(":authority")
	protocol := property("request", "protocol")
	if protocol == "" {
		protocol = "HTTP/1.1"
	}
	transaction.ProcessURI(path, method, protocol)
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		return s.fail("headers", err)
	}
	for _, header := range headers {
		if !strings.HasPrefix(header[0], ":") {
			transaction.AddRequestHeader(header[0], header[1])
		}
	}
	transaction.AddRequestHeader("Host", host)
	name, _, _ := strings.Cut(host, ":")
	transaction.SetServerName(name)
	if interruption := transaction.ProcessRequestHeaders(); interruption != nil {
		return s.refuse(interruption)
	}
	if endOfStream {
		return s.judge(transaction.ProcessRequestBody())
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, endOfStream bool) types.Action {
	if s.refused {
		return types.ActionContinue
	}
	if s.transaction.IsRequestBodyAccessible() {
		if action := s.feed(size, proxywasm.GetHttpRequestBody, s.transaction.WriteRequestBody); s.refused {
			return action
		}
	}
	if endOfStream {
		s.read = 0
		return s.judge(s.transaction.ProcessRequestBody())
	}
	return types.ActionPause
}

func (s *stream) OnHttpResponseHeaders(_ int, endOfStream bool) types.Action {
	if s.refused {
		return types.ActionContinue
	}
	headers, err := proxywasm.GetHttpResponseHeaders()
	if err != nil {
		return s.fail("headers", err)
	}
	status := 0
	for _, header := range headers {
		if header[0] == ":status" {
			status, _ = strconv.Atoi(header[1])
		} else {
			s.transaction.AddResponseHeader(header[0], header[1])
		}
	}
	if interruption := s.transaction.ProcessResponseHeaders(status, "HTTP/1.1"); interruption != nil {
		return s.refuse(interruption)
	}
	if endOfStream {
		return s.judge(s.transaction.ProcessResponseBody())
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, endOfStream bool) types.Action {
	if s.refused || !s.transaction.IsResponseBodyAccessible() || !s.transaction.IsResponseBodyProcessable() {
		return types.ActionContinue
	}
	action := s.feed(size, proxywasm.GetHttpResponseBody, s.transaction.WriteResponseBody)
	if !s.refused && endOfStream {
		action = s.judge(s.transaction.ProcessResponseBody())
	}
	if s.refused {
		if err := proxywasm.ReplaceHttpResponseBody(nil); err != nil {
			proxywasm.LogError("cannot drop the body: " + err.Error())
		}
		return types.ActionContinue
	}
	return action
}

func (s *stream) OnHttpStreamDone() {
	s.transaction.ProcessLogging()
	if err := s.transaction.Close(); err != nil {
		proxywasm.LogError("cannot end the transaction: " + err.Error())
	}
}

// feed hands on what came since the last time, and holds the body back.
func (s *stream) feed(size int, get func(int, int) ([]byte, error),
	write func([]byte) (*waf.Interruption, int, error)) types.Action {
	if size <= s.read {
		return types.ActionPause
	}
	piece, err := get(s.read, size-s.read)
	if err != nil {
		return s.fail("body", err)
	}
	s.read = size
	interruption, _, err := write(piece)
	if err != nil {
		return s.fail("body", err)
	}
	if interruption != nil {
		return s.refuse(interruption)
	}
	return types.ActionPause
}

func (s *stream) judge(interruption *waf.Interruption, err error) types.Action {
	if err != nil {
		return s.fail("body", err)
	}
	if interruption != nil {
		return s.refuse(interruption)
	}
	return types.ActionContinue
}

// refuse answers with what a rule asks for. A rule that names no status means 403.
func (s *stream) refuse(interruption *waf.Interruption) types.Action {
	s.refused = true
	status := uint32(403)
	if interruption.Status >= 200 && interruption.Status <= 599 {
		status = uint32(interruption.Status)
	}
	var headers [][2]string
	if interruption.Action == "redirect" {
		headers = append(headers, [2]string{"location", interruption.Data})
	}
	if err := proxywasm.SendHttpResponse(status, headers, nil, -1); err != nil {
		proxywasm.LogError("cannot answer: " + err.Error())
	}
	return types.ActionPause
}

// fail answers 500: what cannot be judged does not pass.
func (s *stream) fail(what string, err error) types.Action {
	proxywasm.LogError("cannot judge the " + what + ": " + err.Error())
	return s.refuse(&waf.Interruption{Action: "deny", Status: 500})
}

func requestHeader(name string) string {
	value, err := proxywasm.GetHttpRequestHeader(name)
	if err != nil {
		proxywasm.LogDebug("no " + name + ": " + err.Error())
	}
	return value
}

// property returns a property's text, empty if the host does not have it.
func property(path ...string) string {
	value, _ := proxywasm.GetProperty(path)
	return string(value)
}

// peer returns address and port of one end of the connection, empty and 0 if the host does not tell them.
func peer(end string) (string, int) {
	address, port, err := net.SplitHostPort(property(end, "address"))
	if err != nil {
		return property(end, "address"), 0
	}
	number, _ := strconv.Atoi(port)
	return address, number
}
