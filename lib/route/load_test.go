package route

import (
	"strings"
	"testing"

	"sealpost/lib/config"
)

func TestOwnAddresses(t *testing.T) {
	cfg, err := config.FromMap(map[string]string{"inet_interfaces": "192.0.2.1, loopback-only", "proxy_interfaces": "[2001:db8::1]"})
	if err != nil {
		t.Fatal(err)
	}
	own, err := ownAddrs(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range own {
		got = append(got, a.String())
	}
	if strings.Join(got, " ") != "127.0.0.1 192.0.2.1 ::1 2001:db8::1" {
		t.Error(got)
	}
	cfg, err = config.FromMap(map[string]string{"inet_interfaces": "all"})
	if err != nil {
		t.Fatal(err)
	}
	if own, err = ownAddrs(cfg); err != nil || len(own) == 0 {
		t.Errorf("%v, %v", own, err)
	}
}
