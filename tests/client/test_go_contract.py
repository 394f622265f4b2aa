"""The Go client's messages are those of the contract, without a Go toolchain: generated code carries its descriptor."""

import re
from pathlib import Path

from google.protobuf import descriptor_pb2

from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2

GENERATED = Path(__file__).parents[2] / "clients" / "go" / "pb"


def described(data):
    """Return a file's descriptor without what each language names for itself."""
    found = descriptor_pb2.FileDescriptorProto.FromString(data)
    found.ClearField("options")
    found.ClearField("name")
    for message in found.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return found


def test_the_go_client_has_every_message_and_method_of_the_contract():
    source = (GENERATED / "optimized_lipsyncsrv.pb.go").read_text()
    block = re.search(r"_rawDesc = \[\]byte\{(.*?)\n\}", source, re.DOTALL).group(1)
    embedded = bytes(int(number, 16) for number in re.findall(r"0x([0-9a-f]{2})", block))
    ours = described(optimized_lipsyncsrv_pb2.DESCRIPTOR.serialized_pb)
    assert described(embedded) == ours
    stubs = (GENERATED / "optimized_lipsyncsrv_grpc.pb.go").read_text()
    for service in ours.service:
        for method in service.method:
            assert f'"/{service.name}/{method.name}"' in stubs
