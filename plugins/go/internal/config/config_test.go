package config

import "testing"

func TestParse(t *testing.T) {
	for text, valid := range map[string]bool{
		`{"name": "x-a", "value": "1"}`: true,
		`{}`:                            true,
		" {\"name\": \"x-a\"} \n":       true,
		`{"name": "x-a", "valeu": "1"}`: false,
		`{"name": 1}`:                   false,
		`{"name": "x-a"} {}`:            false,
		`{"name": "x-a"`:                false,
		``:                              false,
		"\x80":                          false,
	} {
		var header Header
		if err := Parse([]byte(text), &header); (err == nil) != valid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckStatus(t *testing.T) {
	for status, valid := range map[int]bool{-1: false, 0: false, 199: false, 200: true, 599: true, 600: false} {
		if err := CheckStatus("status", status); (err == nil) != valid {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	if err := CheckHeaders([]Header{{Name: "a"}, {Name: "b", Value: "c"}}); err != nil {
		t.Error(err)
	}
	if CheckHeaders([]Header{{Name: "a"}, {Value: "c"}}) == nil {
		t.Error("a header without a name was taken")
	}
}
