package main

var logScenarios []scenario
