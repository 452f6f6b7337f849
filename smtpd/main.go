package main

import "sealpost/lib/service"

func main() {
	service.Main(service.Spec{
		Program: "smtpd",
		Kind:    service.SingleSession,
		Init: func(env *service.Env) (*service.Worker, error) {
			srv, err := newServer(env)
			if err != nil {
				return nil, err
			}
			return &service.Worker{Conn: srv.serve, Files: srv.files}, nil
		},
	})
}
