"""The ISPyB columns that we use, and no others.

A facility's schema may have more columns and tables; a column that is not named here is never
selected or written, so its schema may move in both directions. `jobUuid` exists only in newer
schemas: the store looks before it writes it. Source of names and types: ispyb-database, see
`CONTRIBUTING.md` for how to add a column.
"""

from datetime import datetime

from sqlalchemy import DateTime, Enum, Float, ForeignKey, Integer, SmallInteger, String, Text, func
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Unsigned = Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
MediumInt = Integer().with_variant(mysql.MEDIUMINT(unsigned=True), "mysql", "mariadb")
UnsignedTiny = SmallInteger().with_variant(mysql.TINYINT(unsigned=True), "mysql", "mariadb")
TinyInt = SmallInteger().with_variant(mysql.TINYINT(), "mysql", "mariadb")


class Base(DeclarativeBase):
    """The tables of one ISPyB."""


def primary_key(name: str) -> Mapped[int]:
    """Return an auto-incrementing unsigned key column."""
    return mapped_column(name, Unsigned, primary_key=True, autoincrement=True)


def reference(name: str, target: str, *, nullable: bool = True) -> Mapped[int | None]:
    """Return a foreign key column."""
    return mapped_column(name, Unsigned, ForeignKey(target), nullable=nullable, index=True)


def text(name: str, length: int) -> Mapped[str | None]:
    """Return a short text column."""
    return mapped_column(name, String(length))


def number(name: str) -> Mapped[float | None]:
    """Return a single-precision column, as ISPyB has them."""
    return mapped_column(name, Float)


def moment(name: str) -> Mapped[datetime | None]:
    """Return a naive local date and time, to the second, as ISPyB has them."""
    return mapped_column(name, DateTime)


def stamp(name: str = "recordTimeStamp") -> Mapped[datetime | None]:
    """Return the column that says when a row was made."""
    return mapped_column(name, DateTime, server_default=func.current_timestamp())


class ProposalRow(Base):
    __tablename__ = "Proposal"
    id: Mapped[int] = primary_key("proposalId")
    code: Mapped[str | None] = text("proposalCode", 45)
    number: Mapped[str | None] = text("proposalNumber", 45)


class SessionRow(Base):
    __tablename__ = "BLSession"
    id: Mapped[int] = primary_key("sessionId")
    proposal_id: Mapped[int | None] = reference("proposalId", "Proposal.proposalId")
    visit_number: Mapped[int | None] = mapped_column("visit_number", Unsigned)
    beamline: Mapped[str | None] = text("beamLineName", 45)


class DataCollectionGroupRow(Base):
    __tablename__ = "DataCollectionGroup"
    id: Mapped[int] = primary_key("dataCollectionGroupId")
    session_id: Mapped[int | None] = reference("sessionId", "BLSession.sessionId")


class DataCollectionRow(Base):
    __tablename__ = "DataCollection"
    id: Mapped[int] = primary_key("dataCollectionId")
    group_id: Mapped[int | None] = reference(
        "dataCollectionGroupId", "DataCollectionGroup.dataCollectionGroupId", nullable=False
    )
    session_id: Mapped[int | None] = mapped_column("SESSIONID", Unsigned)
    image_directory: Mapped[str | None] = text("imageDirectory", 255)
    image_prefix: Mapped[str | None] = text("imagePrefix", 45)
    file_template: Mapped[str | None] = text("fileTemplate", 255)
    start_image: Mapped[int | None] = mapped_column("startImageNumber", Unsigned)
    n_images: Mapped[int | None] = mapped_column("numberOfImages", Unsigned)
    number: Mapped[int | None] = mapped_column("dataCollectionNumber", Unsigned)


class ProcessingJobRow(Base):
    __tablename__ = "ProcessingJob"
    id: Mapped[int] = primary_key("processingJobId")
    collection_id: Mapped[int | None] = reference(
        "dataCollectionId", "DataCollection.dataCollectionId"
    )
    display_name: Mapped[str | None] = text("displayName", 80)
    comments: Mapped[str | None] = text("comments", 255)
    submitted_at: Mapped[datetime | None] = stamp("recordTimestamp")
    recipe: Mapped[str | None] = text("recipe", 50)
    automatic: Mapped[int | None] = mapped_column("automatic", TinyInt)


class ImageSweepRow(Base):
    __tablename__ = "ProcessingJobImageSweep"
    id: Mapped[int] = primary_key("processingJobImageSweepId")
    job_id: Mapped[int | None] = reference("processingJobId", "ProcessingJob.processingJobId")
    collection_id: Mapped[int | None] = reference(
        "dataCollectionId", "DataCollection.dataCollectionId"
    )
    start_image: Mapped[int | None] = mapped_column("startImage", MediumInt)
    end_image: Mapped[int | None] = mapped_column("endImage", MediumInt)


class JobParameterRow(Base):
    __tablename__ = "ProcessingJobParameter"
    id: Mapped[int] = primary_key("processingJobParameterId")
    job_id: Mapped[int | None] = reference("processingJobId", "ProcessingJob.processingJobId")
    key: Mapped[str | None] = text("parameterKey", 80)
    value: Mapped[str | None] = text("parameterValue", 1024)


class ProgramRow(Base):
    __tablename__ = "AutoProcProgram"
    id: Mapped[int] = primary_key("autoProcProgramId")
    command_line: Mapped[str | None] = text("processingCommandLine", 255)
    programs: Mapped[str | None] = text("processingPrograms", 255)
    status: Mapped[int | None] = mapped_column("processingStatus", TinyInt)
    message: Mapped[str | None] = text("processingMessage", 255)
    started_at: Mapped[datetime | None] = moment("processingStartTime")
    updated_at: Mapped[datetime | None] = moment("processingEndTime")
    environment: Mapped[str | None] = text("processingEnvironment", 255)
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")
    job_id: Mapped[int | None] = reference("processingJobId", "ProcessingJob.processingJobId")
    pipeline_id: Mapped[int | None] = mapped_column("processingPipelineId", Integer)


class ProgramMessageRow(Base):
    __tablename__ = "AutoProcProgramMessage"
    id: Mapped[int] = primary_key("autoProcProgramMessageId")
    program_id: Mapped[int | None] = reference(
        "autoProcProgramId", "AutoProcProgram.autoProcProgramId"
    )
    recorded_at: Mapped[datetime | None] = stamp()
    severity: Mapped[str] = mapped_column("severity", Enum("ERROR", "WARNING", "INFO"))
    message: Mapped[str | None] = text("message", 200)
    description: Mapped[str | None] = mapped_column("description", Text)


class ProgramAttachmentRow(Base):
    __tablename__ = "AutoProcProgramAttachment"
    id: Mapped[int] = primary_key("autoProcProgramAttachmentId")
    program_id: Mapped[int | None] = reference(
        "autoProcProgramId", "AutoProcProgram.autoProcProgramId", nullable=False
    )
    file_type: Mapped[str | None] = mapped_column(
        "fileType", Enum("Log", "Result", "Graph", "Debug", "Input")
    )
    file_name: Mapped[str | None] = text("fileName", 255)
    file_path: Mapped[str | None] = text("filePath", 255)
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")
    rank: Mapped[int | None] = mapped_column("importanceRank", UnsignedTiny)


class AutoProcRow(Base):
    __tablename__ = "AutoProc"
    id: Mapped[int] = primary_key("autoProcId")
    program_id: Mapped[int | None] = reference(
        "autoProcProgramId", "AutoProcProgram.autoProcProgramId"
    )
    space_group: Mapped[str | None] = text("spaceGroup", 45)
    cell_a: Mapped[float | None] = number("refinedCell_a")
    cell_b: Mapped[float | None] = number("refinedCell_b")
    cell_c: Mapped[float | None] = number("refinedCell_c")
    cell_alpha: Mapped[float | None] = number("refinedCell_alpha")
    cell_beta: Mapped[float | None] = number("refinedCell_beta")
    cell_gamma: Mapped[float | None] = number("refinedCell_gamma")
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")


class ScalingRow(Base):
    __tablename__ = "AutoProcScaling"
    id: Mapped[int] = primary_key("autoProcScalingId")
    auto_proc_id: Mapped[int | None] = reference("autoProcId", "AutoProc.autoProcId")
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")


class ScalingStatisticsRow(Base):
    __tablename__ = "AutoProcScalingStatistics"
    id: Mapped[int] = primary_key("autoProcScalingStatisticsId")
    scaling_id: Mapped[int | None] = reference(
        "autoProcScalingId", "AutoProcScaling.autoProcScalingId"
    )
    name: Mapped[str] = mapped_column(
        "scalingStatisticsType", Enum("overall", "innerShell", "outerShell")
    )
    d_max: Mapped[float | None] = number("resolutionLimitLow")
    d_min: Mapped[float | None] = number("resolutionLimitHigh")
    r_merge: Mapped[float | None] = number("rMerge")
    r_meas_within: Mapped[float | None] = number("rMeasWithinIPlusIMinus")
    r_meas_all: Mapped[float | None] = number("rMeasAllIPlusIMinus")
    r_pim_within: Mapped[float | None] = number("rPimWithinIPlusIMinus")
    r_pim_all: Mapped[float | None] = number("rPimAllIPlusIMinus")
    partial_bias: Mapped[float | None] = number("fractionalPartialBias")
    n_observations: Mapped[int | None] = mapped_column("nTotalObservations", Integer)
    n_unique: Mapped[int | None] = mapped_column("nTotalUniqueObservations", Integer)
    i_over_sigma: Mapped[float | None] = number("meanIOverSigI")
    completeness: Mapped[float | None] = number("completeness")
    multiplicity: Mapped[float | None] = number("multiplicity")
    anomalous_completeness: Mapped[float | None] = number("anomalousCompleteness")
    anomalous_multiplicity: Mapped[float | None] = number("anomalousMultiplicity")
    anomalous: Mapped[int | None] = mapped_column("anomalous", TinyInt, server_default="0")
    cc_half: Mapped[float | None] = number("ccHalf")
    cc_anomalous: Mapped[float | None] = number("ccAnomalous")
    d_min_i_over_sigma_2: Mapped[float | None] = number("resIOverSigI2")
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")


class IntegrationRow(Base):
    __tablename__ = "AutoProcIntegration"
    id: Mapped[int] = primary_key("autoProcIntegrationId")
    collection_id: Mapped[int | None] = reference(
        "dataCollectionId", "DataCollection.dataCollectionId", nullable=False
    )
    program_id: Mapped[int | None] = reference(
        "autoProcProgramId", "AutoProcProgram.autoProcProgramId"
    )
    start_image: Mapped[int | None] = mapped_column("startImageNumber", Unsigned)
    end_image: Mapped[int | None] = mapped_column("endImageNumber", Unsigned)
    detector_distance: Mapped[float | None] = number("refinedDetectorDistance")
    beam_x: Mapped[float | None] = number("refinedXBeam")
    beam_y: Mapped[float | None] = number("refinedYBeam")
    cell_a: Mapped[float | None] = number("cell_a")
    cell_b: Mapped[float | None] = number("cell_b")
    cell_c: Mapped[float | None] = number("cell_c")
    cell_alpha: Mapped[float | None] = number("cell_alpha")
    cell_beta: Mapped[float | None] = number("cell_beta")
    cell_gamma: Mapped[float | None] = number("cell_gamma")
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")
    anomalous: Mapped[int | None] = mapped_column("anomalous", TinyInt, server_default="0")


class ScalingHasIntegrationRow(Base):
    __tablename__ = "AutoProcScaling_has_Int"
    id: Mapped[int] = primary_key("autoProcScaling_has_IntId")
    scaling_id: Mapped[int | None] = reference(
        "autoProcScalingId", "AutoProcScaling.autoProcScalingId"
    )
    integration_id: Mapped[int | None] = reference(
        "autoProcIntegrationId", "AutoProcIntegration.autoProcIntegrationId", nullable=False
    )
    recorded_at: Mapped[datetime | None] = moment("recordTimeStamp")
