module agentwrit.example/go

go 1.19
