module agentwrit.example/interop

go 1.19

require agentwrit.example/go v0.0.0

replace agentwrit.example/go => ../../examples/clients/go
