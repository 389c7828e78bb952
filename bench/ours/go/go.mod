module bench

go 1.19

require github.com/mptcpapi/mptcpapi/go v0.0.0

replace github.com/mptcpapi/mptcpapi/go => ../../../go
