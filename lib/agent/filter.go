package agent

import (
	"context"

	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// openFilter opens the tables of PROGRAM_delivery_status_filter; nil for a program
// that has no such parameter.
func openFilter(env *service.Env) *table.Maps {
	name := env.Program + "_delivery_status_filter"
	if p, ok := config.Lookup(name); !ok || p.Status == config.Known {
		return nil
	}
	m := table.OpenMaps(table.Env{Warnf: env.Log.Warnf}, name, env.Config.Str(name))
	if m.Empty() {
		return nil
	}
	return m
}

// filter replaces code and text of an outcome by what the tables have for "code
// text". Success stays success, and failure failure; a failure may become one that
// is tried again, or the reverse. A table that fails changes nothing.
func (d *Delivery) filter(ctx context.Context, o *Outcome) {
	if d.frame.filter == nil {
		return
	}
	value, found, err := d.frame.filter.Lookup(ctx, o.Status.Code+" "+o.Status.Reason)
	switch {
	case err != nil:
		d.Log.Warnf("%s: %v; the delivery status is left as it is", d.Req.QueueID, err)
		return
	case !found:
		return
	}
	code, text := dsn.SplitCode("", value)
	if code == "" || text == "" || (code[0] == '2') != (o.Status.Code[0] == '2') {
		d.Log.Warnf("%s: delivery status filter: %q cannot take the place of %q; the status is left as it is",
			d.Req.QueueID, value, o.Status.Code+" "+o.Status.Reason)
		return
	}
	o.Status.Code, o.Status.Reason = code, text
}
