package main

import (
	"sealpost/lib/agent"
	"sealpost/lib/mailbox"
	"sealpost/lib/service"
)

func main() {
	mailbox.RunHelper()
	agent.Main(service.Spec{Program: "virtual", NeedPrivilege: true}, initVirtual)
}
