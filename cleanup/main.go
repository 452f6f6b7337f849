package main

import "sealpost/lib/service"

func main() {
	service.Main(service.Spec{Program: "cleanup", Kind: service.SingleSession, NeedUnlimited: true, Init: initialize})
}
