"""The denominator: a bare grpc.aio server, no interceptor, that parses the same request and answers a constant.

python -m tests.bench.bare METHOD RESPONSE_HEX   prints its port; METHOD as /package.Service/Rpc
"""

import asyncio
import importlib
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory


async def main(method: str, response_hex: str) -> None:
    for module in ("trading_pb2", "market_data_pb2"):
        importlib.import_module(f"trading_gateway.v1.{module}")
    service, name = method.strip("/").split("/")
    rpc = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    request_class = message_factory.GetMessageClass(rpc.input_type)
    response_class = message_factory.GetMessageClass(rpc.output_type)
    response = response_class.FromString(bytes.fromhex(response_hex))

    async def answer(_request, _context):
        return response

    async def answer_for_ever(_request, _context):
        while True:
            yield response

    make = grpc.unary_stream_rpc_method_handler if rpc.server_streaming else grpc.unary_unary_rpc_method_handler
    handler = make(
        answer_for_ever if rpc.server_streaming else answer, request_class.FromString, response_class.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main(*sys.argv[1:3]))
