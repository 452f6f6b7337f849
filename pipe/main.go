package main

import (
	"sealpost/lib/agent"
	"sealpost/lib/service"
)

func main() {
	agent.Main(service.Spec{Program: "pipe", NeedPrivilege: true, TakesArgs: true}, initPipe)
}
