Dumping /tmp/L/clean/plain-0/00000000000000000000.index
SLF4J: Failed to load class "org.slf4j.impl.StaticLoggerBinder".
SLF4J: Defaulting to no-operation (NOP) logger implementation
SLF4J: See http://www.slf4j.org/codes.html#StaticLoggerBinder for further details.
Dumping /tmp/L/clean/plain-0/00000000000000003357.index
Dumping /tmp/L/clean/plain-0/00000000000000006737.index
Dumping /tmp/L/clean/plain-0/00000000000000010085.index
Dumping /tmp/L/clean/plain-0/00000000000000013465.index
Dumping /tmp/L/clean/plain-0/00000000000000016811.index
Dumping /tmp/L/clean/plain-0/00000000000000020161.index
Dumping /tmp/L/clean/plain-0/00000000000000023541.index
Dumping /tmp/L/clean/plain-0/00000000000000026889.index
Dumping /tmp/L/clean/plain-0/00000000000000030226.index
