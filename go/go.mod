module github.com/mptcpapi/mptcpapi/go

go 1.19
