package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWrongUseIsExplained(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "a command is missing"},
		{"unknown command", []string{"begin"}, "unknown command: 'begin'"},
		{"unknown option", []string{"-x", "start"}, "invalid option -- 'x'"},
		{"too many words", []string{"start", "now"}, "command 'start' takes 0 arguments, not 1"},
		{"too few words", []string{"verbose", "smtp"}, "command 'verbose' takes 2 arguments, not 1"},
		{"no configuration", []string{"-c", "/nonexistent", "status"}, "/nonexistent/main.cf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(tt.args, &out, &errs); status != 1 {
				t.Errorf("exit status %d", status)
			}
			if !strings.Contains(errs.String(), "sealpost: fatal: ") || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("said %q, want %q", errs.String(), tt.want)
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	tests := []struct {
		name, text string
		servers    []string
		trust      bool
	}{
		{"empty", "", nil, false},
		{"trusted", "nameserver 127.0.0.1\noptions edns0 trust-ad\n", []string{"127.0.0.1"}, true},
		{"several", "nameserver ::1\n# nameserver 9.9.9.9\nnameserver 10.0.0.1\noptions edns0\n", []string{"::1", "10.0.0.1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers, trust := resolvConf(tt.text)
			if !slices.Equal(servers, tt.servers) || trust != tt.trust {
				t.Errorf("got %q %v, want %q %v", servers, trust, tt.servers, tt.trust)
			}
		})
	}
}

func TestStrftime(t *testing.T) {
	when := time.Date(2026, 11, 22, 7, 8, 9, 0, time.UTC)
	if got := strftime("%Y%m%d-%H%M%S%%", when); got != "20261122-070809%" {
		t.Errorf("got %q", got)
	}
}
