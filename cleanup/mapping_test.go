package main

import (
	"strings"
	"testing"
)

func TestSenderAndHeaderMapping(t *testing.T) {
	masquerade := map[string]string{"masquerade_domains": "!keep.corp.example corp.example", "masquerade_exceptions": "root"}
	canonical := map[string]string{"canonical_maps": "inline:{a@old.example=b@new.example}"}
	for _, tt := range []struct {
		name         string
		set          map[string]string
		sender, from string
		want         string // sender and From: address in the file
	}{
		{"nothing", nil, "a@host.corp.example", "a@host.corp.example", "a@host.corp.example a@host.corp.example"},
		{"masquerade", masquerade, "a@host.corp.example", "a@x.corp.example", "a@corp.example a@corp.example"},
		{"masquerade, kept domain", masquerade, "a@h.keep.corp.example", "a@keep.corp.example", "a@h.keep.corp.example a@keep.corp.example"},
		{"masquerade, exception", masquerade, "root@host.corp.example", "a@notcorp.example", "root@host.corp.example a@notcorp.example"},
		{"canonical", canonical, "a@old.example", "a@old.example", "b@new.example b@new.example"},
		{"canonical, other address", map[string]string{"canonical_maps": "inline:{x@y=z@y}"}, "a@old.example", "a@old.example", "a@old.example a@old.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), tt.set)
			got := accept(t, h, external, with("T1 0", "S"+tt.sender, "Rbob@virt.example", "M", "NFrom: "+tt.from, "N", "X", "E"))
			from := strings.TrimPrefix(lines(got, "N")[0], "From: ")
			if s := lines(got, "S")[0] + " " + from; s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}
