"""Which method of the contract is which function, and the handlers made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mien.v1 import gallery_service_pb2, operations_service_pb2, recognition_service_pb2
from mien_server.rpc.absent import unimplemented
from mien_server.rpc.gate import Call
from mien_server.rpc.handlers import (
    Admission,
    Handler,
    Method,
    absent_handler,
    stream_handler,
    unary_handler,
)
from mien_server.rpc.methods import enrollment, erasures, faces, galleries, identities, operations, recognition
from mien_server.rpc.streams import StreamMethod, StreamWindow

__all__ = ["SERVICES", "STREAM_METHODS", "UNARY_METHODS", "service_handlers"]

SERVICES: tuple[ServiceDescriptor, ...] = (
    gallery_service_pb2.DESCRIPTOR.services_by_name["GalleryService"],
    recognition_service_pb2.DESCRIPTOR.services_by_name["RecognitionService"],
    operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"],
)

UNARY_METHODS: Mapping[str, Callable[[Any, Call], Message]] = {
    "mien.v1.GalleryService.CreateGallery": galleries.create_gallery,
    "mien.v1.GalleryService.GetGallery": galleries.get_gallery,
    "mien.v1.GalleryService.ListGalleries": galleries.list_galleries,
    "mien.v1.GalleryService.UpdateGallery": galleries.update_gallery,
    "mien.v1.GalleryService.DeleteGallery": galleries.delete_gallery,
    "mien.v1.GalleryService.EnrollFaces": enrollment.enroll_faces,
    "mien.v1.GalleryService.GetIdentity": identities.get_identity,
    "mien.v1.GalleryService.ListIdentities": identities.list_identities,
    "mien.v1.GalleryService.UpdateIdentity": identities.update_identity,
    "mien.v1.GalleryService.DeleteIdentity": identities.delete_identity,
    "mien.v1.GalleryService.GetFace": faces.get_face,
    "mien.v1.GalleryService.ListFaces": faces.list_faces,
    "mien.v1.GalleryService.MoveFaces": faces.move_faces,
    "mien.v1.GalleryService.DeleteFaces": faces.delete_faces,
    "mien.v1.RecognitionService.DetectFaces": recognition.detect_faces,
    "mien.v1.RecognitionService.EmbedFaces": recognition.embed_faces,
    "mien.v1.RecognitionService.VerifyFaces": recognition.verify_faces,
    "mien.v1.RecognitionService.Identify": recognition.identify,
    "mien.v1.RecognitionService.SearchFaces": recognition.search_faces,
    "mien.v1.OperationsService.GetServerInfo": operations.get_server_info,
    "mien.v1.OperationsService.RebuildIndex": operations.rebuild_index,
    "mien.v1.OperationsService.CreateSnapshot": operations.create_snapshot,
    "mien.v1.OperationsService.ListSnapshots": operations.list_snapshots,
    "mien.v1.OperationsService.DeleteSnapshot": operations.delete_snapshot,
    "mien.v1.OperationsService.GetOperation": operations.get_operation,
    "mien.v1.OperationsService.ListOperations": operations.list_operations,
    "mien.v1.OperationsService.WaitOperation": operations.wait_operation,
    "mien.v1.OperationsService.CancelOperation": operations.cancel_operation,
    "mien.v1.OperationsService.EraseIdentity": erasures.erase_identity,
    "mien.v1.OperationsService.GetErasure": erasures.get_erasure,
    "mien.v1.OperationsService.ListErasures": erasures.list_erasures,
    "mien.v1.OperationsService.VerifyErasure": erasures.verify_erasure,
}

STREAM_METHODS: Mapping[str, StreamMethod] = {
    "mien.v1.GalleryService.StreamEnroll": enrollment.STREAM_ENROLL,
    "mien.v1.RecognitionService.StreamIdentify": recognition.STREAM_IDENTIFY,
    "mien.v1.RecognitionService.StreamSearch": recognition.STREAM_SEARCH,
}


def service_handlers(admission: Admission, window: StreamWindow) -> dict[str, dict[str, Handler]]:
    """Handlers of every method by service and name; a method in no table is a defect and stops the server's start."""
    return {
        service.full_name: {method.name: _handler(method, admission, window) for method in service.methods}
        for service in SERVICES
    }


def _handler(descriptor: MethodDescriptor, admission: Admission, window: StreamWindow) -> Handler:
    name = descriptor.full_name
    method = Method(name, GetMessageClass(descriptor.input_type))
    if name in UNARY_METHODS:
        return unary_handler(method, UNARY_METHODS[name], admission)
    if name in STREAM_METHODS:
        return stream_handler(method, STREAM_METHODS[name], admission, window)
    return absent_handler(method, unimplemented(name))
