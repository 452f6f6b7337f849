package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/tlsconn"
)

// checkTLS says what parameters ask of TLS that cannot be had (decisions.md, 50),
// and which certificate files are of no use.
func (c *control) checkTLS() {
	for _, s := range c.cfg.Settings() {
		c.checkTLSValue(fmt.Sprintf("%s, line %d", s.File, s.Line), c.cfg, s.Name)
	}
	where := filepath.Join(c.dir, "main.cf")
	c.checkCertificates(where, c.cfg, nil)
	c.checkSASL(where, c.cfg)
	entries, err := config.ReadMaster(c.masterCF())
	if err != nil {
		return // said already
	}
	for i := range entries {
		e := &entries[i]
		overrides := e.Overrides()
		where := fmt.Sprintf("%s: line %d: service %s", c.masterCF(), e.First, e.Fields[0])
		own := c.cfg.Overlay(overrides...)
		names := make(map[string]bool)
		for _, o := range overrides {
			names[o.Name] = true
			c.checkTLSValue(where, own, o.Name)
		}
		c.checkCertificates(where, own, names)
		if names["smtpd_sasl_auth_enable"] || names["smtpd_sasl_type"] || names["smtpd_sasl_path"] {
			c.checkSASL(where, own)
		}
	}
}

func (c *control) checkTLSValue(where string, cfg *config.Config, name string) {
	p, known := config.Lookup(name)
	if !known || p.Status == config.Known {
		return // said already
	}
	value, err := cfg.Value(name)
	if err != nil || value == "" {
		return
	}
	for _, problem := range tlsconn.Problems(name, value) {
		c.log.Warnf("%s: parameter %s: %s", where, name, problem)
	}
}

// checkSASL says that AUTH is wanted from a kind of service that there is not: smtpd
// does not start with it.
func (c *control) checkSASL(where string, cfg *config.Config) {
	kind, err := cfg.Value("smtpd_sasl_type")
	if enabled, err2 := cfg.Value("smtpd_sasl_auth_enable"); err != nil || err2 != nil || enabled != "yes" || kind == "dovecot" {
		return
	}
	c.log.Warnf("%s: parameter smtpd_sasl_type: %q is not supported, and with smtpd_sasl_auth_enable smtpd does not start: "+
		"specify dovecot, and with smtpd_sasl_path the socket of Dovecot's authentication service", where, kind)
}

// checkCertificates loads what the daemons would load. With only, just the sides
// of which one of these parameters is a part: the others were looked at already.
func (c *control) checkCertificates(where string, cfg *config.Config, only map[string]bool) {
	for _, side := range []string{"smtpd", "smtp", "lmtp"} {
		if only != nil && !names(only, side+"_tls_") {
			continue
		}
		value := func(suffix string) string {
			v, err := cfg.Value(side + "_tls_" + suffix)
			if err != nil {
				return "" // said already
			}
			return strings.TrimSpace(v)
		}
		now := time.Now()
		var certs tlsconn.Certificates
		var err error
		if files := config.SplitList(value("chain_files")); len(files) > 0 {
			certs, err = tlsconn.LoadChains(files, now)
		} else {
			certs, err = tlsconn.LoadPairs([]tlsconn.Pair{
				{CertFile: value("cert_file"), KeyFile: value("key_file")},
				{CertFile: value("eccert_file"), KeyFile: value("eckey_file")},
				{CertFile: value("dcert_file"), KeyFile: value("dkey_file")},
			}, now)
		}
		if errors.Is(err, os.ErrPermission) {
			continue // who checks need not be who starts the daemons
		}
		if err == nil {
			_, _, err = tlsconn.LoadRoots(value("CAfile"), value("CApath"), false)
		}
		if err != nil {
			c.log.Warnf("%s: TLS of %s: %v", where, side, err)
		}
		for _, w := range certs.Warnings {
			c.log.Warnf("%s: TLS of %s: %s", where, side, w)
		}
	}
}

func names(set map[string]bool, prefix string) bool {
	for name := range set {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
