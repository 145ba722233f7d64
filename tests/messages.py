"""Messages of the contract by chance, about half of whose values are as they must be."""

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

UUID = "01234567-89ab-cdef-0123-456789ABCDEF"

TEXTS = st.sampled_from(["", "a", "A-1", "ab\n", "é", "a@b", UUID, UUID.lower(), "x" * 300])
NUMBERS = st.integers(-3, 12)


@st.composite
def messages(
    draw: st.DrawFn,
    descriptor: Descriptor,
    *,
    texts: st.SearchStrategy[str] = TEXTS,
    depth: int = 3,
) -> Message:
    """A message of this type with some of its fields set to what is about right."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if not draw(st.booleans()):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(draw(st.dictionaries(texts, texts, max_size=2)))
        elif field.message_type is not None:
            if depth == 0 or not field.message_type.full_name.startswith("girih."):
                continue
            one = draw(messages(field.message_type, texts=texts, depth=depth - 1))
            target = getattr(message, field.name)
            target.append(one) if field.is_repeated else target.CopyFrom(one)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(value(field, texts), max_size=3)))
        else:
            setattr(message, field.name, draw(value(field, texts)))
    return message


def value(field: FieldDescriptor, texts: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    if field.type == FieldDescriptor.TYPE_STRING:
        return texts
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=2)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return NUMBERS if field.enum_type is None else st.integers(0, 6)
