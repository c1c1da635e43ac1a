// Package config reads the plugin's configuration, which is JSON.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// Header is a header field with the value that it is to have.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Text returns the configuration as it was written, empty if there is none.
func Text() (string, error) {
	text, err := proxywasm.GetPluginConfiguration()
	if errors.Is(err, types.ErrorStatusNotFound) {
		return "", nil
	}
	return string(text), err
}

// Read fills into from the configuration and reports whether there is one. Members that into does not have make it
// invalid, so that a mistyped name is not passed over.
func Read(into any) (bool, error) {
	text, err := Text()
	if err != nil || text == "" {
		return false, err
	}
	return true, Parse([]byte(text), into)
}

// Parse fills into from one JSON value, after which nothing may follow.
func Parse(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// CheckStatus returns an error unless status is that of a final response.
func CheckStatus(name string, status int) error {
	if status < 200 || status > 599 {
		return fmt.Errorf("%s is %d, not 200 to 599", name, status)
	}
	return nil
}

// CheckHeaders returns an error if one of the headers has no name.
func CheckHeaders(headers []Header) error {
	for i, header := range headers {
		if header.Name == "" {
			return fmt.Errorf("headers[%d] has no name", i)
		}
	}
	return nil
}

// Replace gives each header its value in the response. What the host does not take is logged, and the others are
// still replaced.
func Replace(headers []Header) {
	for _, header := range headers {
		if err := proxywasm.ReplaceHttpResponseHeader(header.Name, header.Value); err != nil {
			proxywasm.LogError("cannot replace " + header.Name + ": " + err.Error())
		}
	}
}

// Started turns the end of OnPluginStart into its status, and logs why a configuration was refused.
func Started(err error) types.OnPluginStartStatus {
	if err == nil {
		return types.OnPluginStartStatusOK
	}
	proxywasm.LogError("invalid configuration: " + err.Error())
	return types.OnPluginStartStatusFailed
}
