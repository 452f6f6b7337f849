package main

var queueScenarios, mixedScenarios, logScenarios []scenario
