package main

import (
	"errors"
	"strings"

	"sealpost/lib/bouncetext"
	"sealpost/lib/config"
)

// showTemplates prints the texts of notifications: as written (-t), or expanded
// (-b). The argument is a file that replaces bounce_template_file; "" is none.
func (c *command) showTemplates() error {
	if len(c.args) > 1 {
		return errors.New("specify one template file name")
	}
	cfg, err := config.LoadUnchecked(c.dir)
	if err != nil {
		return err
	}
	path, err := cfg.Value("bounce_template_file")
	if len(c.args) == 1 {
		path = c.args[0]
	}
	if err != nil {
		return err
	}
	set, err := bouncetext.Load(path)
	if err != nil {
		return err
	}
	if c.mode == 'b' {
		if cfg, err = cfg.With(); err != nil {
			return err
		}
		if err := set.Expand(cfg); err != nil {
			return err
		}
	}
	for i, name := range bouncetext.Names {
		if i > 0 {
			c.print("\n")
		}
		if c.mode == 't' {
			c.print(set[name].Format(name))
		} else {
			c.print(set[name].FormatText("expanded_" + strings.TrimSuffix(name, "_template") + "_text"))
		}
	}
	return nil
}
